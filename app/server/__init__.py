"""Uvicorn's protocol, the listening socket and the worker processes.

May import: `core`, `api`, `settings`, `main`.
"""
