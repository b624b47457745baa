"""Pure decisions: what may be cached, what must match, how long it lives, what happens next.

May import: `core`, `dialects`, `matching`.
"""
