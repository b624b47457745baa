"""Carries out decisions through ports: looks up, joins, fetches, records and explains answers.

May import: `core`, `dialects`, `matching`, `rules`.
Only `api` and `main` import it.
"""
