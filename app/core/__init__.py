"""Definitions for all rooms (packages): types, errors, ports, metrics, threads for slow work.

May import: nothing of the project.
"""
