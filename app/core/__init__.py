"""The words that every room uses: central types, errors, ports, metrics, work off the loop.

May import: nothing of the project.
"""
