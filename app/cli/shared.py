"""What commands share: how they fail, and how they show that they work."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from app.core.errors import BadInput, CallFailed, ConfigurationError

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@contextmanager
def reported() -> Iterator[None]:
    """End the command with one line on standard error if it fails for a known reason."""
    try:
        yield
    except (BadInput, CallFailed, ConfigurationError) as error:
        typer.echo(f"reprise: {error}", err=True)
        raise typer.Exit(1 if isinstance(error, CallFailed) else 2) from None


@contextmanager
def bar(label: str, steps: int) -> Iterator[Callable[[], None]]:
    """Show how far some work has come, on a terminal only."""
    hidden = not sys.stderr.isatty()
    with typer.progressbar(length=steps, label=label, file=sys.stderr, hidden=hidden) as shown:
        yield lambda: shown.update(1)
