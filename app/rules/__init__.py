"""Pure decisions: what may be cached, what must match, how long answers live, what comes next.

May import: `core`, `dialects`, `matching`.
"""
