"""The HTTP face, ASGI in and ASGI out: routes, middleware, authentication.

May import: `core`, `dialects`, `rules`, `stores`, `engine`.
"""
