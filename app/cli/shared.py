"""Helpers for all commands: error messages, the progress bar, common options."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from app.configuration import load_settings
from app.core.errors import BadInput, CallFailed, ConfigurationError
from app.tools.admin_client import AdminClient

Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")]
Url = Annotated[
    str | None, typer.Option(help="URL of the proxy. (default: the one in the settings)")
]


@contextmanager
def reported() -> Iterator[None]:
    """Turn a known error into one line on standard error, and exit.

    The exit status is 1 for CallFailed, and 2 for BadInput and ConfigurationError.
    """
    try:
        yield
    except (BadInput, CallFailed, ConfigurationError) as error:
        typer.echo(f"reprise: {error}", err=True)
        raise typer.Exit(1 if isinstance(error, CallFailed) else 2) from None


@contextmanager
def bar(label: str, steps: int) -> Iterator[Callable[[], None]]:
    """Show a progress bar if standard error is a terminal.

    Yield a function that advances the bar by one step.
    """
    hidden = not sys.stderr.isatty()
    with typer.progressbar(length=steps, label=label, file=sys.stderr, hidden=hidden) as shown:
        yield lambda: shown.update(1)


def admin_client(url: str | None) -> AdminClient:
    """Return a client of the proxy at `url`.

    If `url` is None, the client is for the proxy that `reprise serve` would start.
    """
    settings = load_settings()
    name = settings.operators_host if settings.admin_port else settings.host
    host = f"[{name}]" if ":" in name else name
    token = settings.admin_token.get_secret_value()
    return AdminClient(url or f"http://{host}:{settings.admin_port or settings.port}", token)
