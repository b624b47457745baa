"""Does what decisions ask for, through ports: looks up, joins, fetches, records, explains.

May import: `core`, `dialects`, `matching`, `rules`.
Imported by `api` and `main` alone.
"""
