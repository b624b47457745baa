"""Whether one answer serves another question: texts read and compared.

May import: `core`.
"""
