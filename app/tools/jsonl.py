"""Reads a command's input files: lines of JSON, plain or gzipped."""

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from app.core.errors import BadInput, NotUnderstood
from app.dialects.strict_json import JsonObject, load_json


@dataclass(frozen=True, slots=True)
class Line:
    """A JSON object from one line of a file, with the file's path and the line's number."""

    path: Path
    number: int
    document: JsonObject = field(repr=False)

    def text(self, name: str) -> str:
        """Return the value of the field `name`. Raises BadInput if that value is not a string."""
        value = self.document.get(name)
        return value if isinstance(value, str) else self.refuse(f'"{name}" must be a text')

    def refuse(self, reason: str) -> NoReturn:
        """Raise BadInput with the file, the line number and the reason."""
        raise BadInput(f"{self.path}: line {self.number}: {reason}")


def read_lines(path: Path) -> Iterator[Line]:
    """Yield a file's lines, except blank ones. If the name ends in `.gz`, the file is decompressed.

    Raises BadInput if the file cannot be read or has no lines, or if a line is not a JSON object.
    """
    empty = True
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                if raw.strip():
                    empty = False
                    yield Line(path, number, _object(path, number, raw))
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise BadInput(f"{path}: not a complete gzip file") from None
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from None
    if empty:
        raise BadInput(f"{path}: the file has no lines")


def _object(path: Path, number: int, raw: bytes) -> JsonObject:
    try:
        document = load_json(raw)
    except NotUnderstood as error:
        raise BadInput(f"{path}: line {number}: {error.detail}") from None
    if not isinstance(document, dict):
        raise BadInput(f"{path}: line {number}: not a JSON object")
    return document
