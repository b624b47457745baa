"""One module or package per API: reads and writes its requests, answers and streams.

May import: `core`.
"""
