"""`reprise report`: what shadow mode or traffic has shown."""

import json

import typer

from app.cli.shared import Json, Url, admin_client, reported
from app.tools.report import report_text


def report(url: Url = None, as_json: Json = False) -> None:
    """Say what a running proxy has found: hits, wrong ones, savings, the dial that suggests."""
    with reported():
        told = admin_client(url).report()
    typer.echo(json.dumps(told, indent=2) if as_json else report_text(told))
