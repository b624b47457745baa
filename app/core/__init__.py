"""Definitions that all rooms share: types, errors, ports, metrics, threads for slow work.

May import: nothing of the project.
"""
