"""The HTTP interface, as an ASGI application: routes, middleware, authentication.

May import: `core`, `dialects`, `rules`, `stores`, `engine`.
"""
