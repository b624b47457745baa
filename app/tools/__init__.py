"""The commands other than `serve`, such as evaluate, replay, export and demo.

May import: every room but `variables`, `configuration`, `inference`, `stores`, `engine`, `tracing`
and `cli`.
"""
