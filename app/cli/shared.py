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
    """Turn a known error into one line on standard error and an exit status of 1 or 2."""
    try:
        yield
    except (BadInput, CallFailed, ConfigurationError) as error:
        typer.echo(f"reprise: {error}", err=True)
        raise typer.Exit(1 if isinstance(error, CallFailed) else 2) from None


@contextmanager
def bar(label: str, steps: int) -> Iterator[Callable[[], None]]:
    """Show a progress bar, on a terminal only; yield the function that advances it by one step."""
    hidden = not sys.stderr.isatty()
    with typer.progressbar(length=steps, label=label, file=sys.stderr, hidden=hidden) as shown:
        yield lambda: shown.update(1)
