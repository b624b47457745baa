"""The command line: the commands of `reprise`.

May import: `core`, `inference`, `variables`, `settings`, `configuration`, `adapters`, `main`,
`server`, `tools`.
"""

from app.cli.commands import main as main
