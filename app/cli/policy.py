"""`reprise policy`: what the rules say of a request."""

import json
import sys
from typing import Annotated

import typer

from app.cli.shared import Json, reported
from app.configuration import load_settings
from app.tools.policy import check_named, check_request

policy = typer.Typer(help="The rules of REPRISE_POLICY.", no_args_is_help=True)


@policy.callback()
def rules() -> None:
    """Look at the rules of REPRISE_POLICY."""


@policy.command()
def check(
    model: Annotated[str | None, typer.Option(help="The request's model.")] = None,
    namespace: Annotated[str | None, typer.Option(help="Its x-cache-namespace.")] = None,
    path: Annotated[str | None, typer.Option(help="Its path.")] = None,
    as_json: Json = False,
) -> None:
    """Say which rule a request meets and what follows: of options, or of JSON on standard input.

    That is a request's body, or {"request", "headers", "route"} as /cache/explain takes it.
    """
    with reported():
        settings = load_settings()
        if model is None and namespace is None and path is None:
            told = check_request(settings, sys.stdin.buffer.read())
        else:
            told = check_named(settings, model or "", namespace or "", path)
    typer.echo(json.dumps(told.document(), indent=2) if as_json else str(told))
