"""Carries out decisions through ports: looks up, joins, fetches, records and explains answers.

May import: `core`, `dialects`, `matching`, `rules`.
Imported by `api` and `main` only.
"""
