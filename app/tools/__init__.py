"""The commands other than `serve`: evaluate, calibrate, replay, export, import, demo.

May import: every room but `variables`, `configuration`, `inference`, `stores`, `engine`, `tracing`
and `cli`.
"""
