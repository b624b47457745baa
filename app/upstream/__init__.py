"""HTTP to the upstream, and a simulated upstream.

May import: `core`, `dialects`, `rules`.
"""
