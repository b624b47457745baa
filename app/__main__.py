"""`python -m app` is `reprise`."""

from app.cli import main

main()
