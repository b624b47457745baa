"""What the command line offers beside serving: evaluate, replay, export, import, demo.

May import: every room but `configuration`, `inference`, `stores`, `engine`, `tracing` and
`cli`.
"""
