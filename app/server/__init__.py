"""The HTTP protocol for uvicorn, the listening sockets and the worker processes.

May import: `core`, `api`, `settings`, `main`.
"""
