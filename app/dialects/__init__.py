"""Reads and writes requests, answers and streams: one module or package for each API.

May import: `core`.
"""
