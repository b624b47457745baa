"""Traces requests with OpenTelemetry. OpenTelemetry is imported only if the settings ask for it.

May import: `core`, `dialects`, `rules`, `engine`, `api`.
"""
