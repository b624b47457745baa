"""`reprise report`: shows the report on shadow mode, which serves no hits, or on traffic."""

import json

import typer

from app.cli.shared import Json, Url, admin_client, reported
from app.tools.report import report_text


def report(url: Url = None, as_json: Json = False) -> None:
    """Show the hits, wrong hits and savings of a running proxy, and suggest a dial."""
    with reported():
        told = admin_client(url).report()
    typer.echo(json.dumps(told, indent=2) if as_json else report_text(told))
