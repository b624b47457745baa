"""The stores: in memory, in SQLite, in Valkey.

May import: `core`, `dialects`, `rules`.
"""
