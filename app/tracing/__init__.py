"""Traces of requests by OpenTelemetry, which is imported only if the settings ask for it.

May import: `core`, `dialects`, `rules`, `engine`, `api`.
"""
