"""Reads and compares texts: whether the answer to one question also serves another question.

May import: `core`.
"""
