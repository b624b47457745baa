"""`reprise policy`: shows which of the operator's rules applies to a request."""

import json
import sys
from typing import Annotated

import typer

from app.cli.shared import Json, reported
from app.configuration import load_settings
from app.tools.policy import check_named, check_request

policy = typer.Typer(help="Examine the rules in the file REPRISE_POLICY.", no_args_is_help=True)


@policy.callback()
def rules() -> None:
    """Examine the rules in the file REPRISE_POLICY."""


@policy.command()
def check(
    model: Annotated[str | None, typer.Option(help="The request's model.")] = None,
    namespace: Annotated[str | None, typer.Option(help="The request's x-cache-namespace.")] = None,
    path: Annotated[str | None, typer.Option(help="The request's path.")] = None,
    as_json: Json = False,
) -> None:
    """Show which rule applies to a request, and its effect.

    Describe the request by options, or send it as JSON on standard input: its body, or {"request",
    "headers", "route"} as for /cache/explain.
    """
    with reported():
        settings = load_settings()
        if model is None and namespace is None and path is None:
            told = check_request(settings, sys.stdin.buffer.read())
        else:
            told = check_named(settings, model or "", namespace or "", path)
    typer.echo(json.dumps(told.document(), indent=2) if as_json else str(told))
