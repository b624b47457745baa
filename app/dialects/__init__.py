"""One module an API: its requests, answers and streams, read and written.

May import: `core`.
"""
