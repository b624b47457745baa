"""Traces of requests; OpenTelemetry is loaded only where a deployment asks for it.

May import: `core`, `dialects`, `rules`, `engine`, `api`.
"""
