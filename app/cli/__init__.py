"""The commands.

May import: `core`, `inference`, `variables`, `settings`, `configuration`, `adapters`, `main`,
`server`, `tools`.
"""

from app.cli.commands import main as main
