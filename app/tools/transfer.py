"""Exports the entries of a running proxy to a file, and imports entries from a file.

An export or import that broke off can be continued.
"""

import gzip
import os
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from app.core.errors import BadInput, CallFailed, NotUnderstood
from app.dialects.strict_json import load_json
from app.tools.admin_client import AdminClient
from app.tools.progress import Progress

_FATES = ("imported", "kept", "expired", "refused")
_LINES_AT_ONCE, _BYTES_AT_ONCE = 500, 4_194_304
_CURSOR = b'{"cursor":'


@dataclass(slots=True)
class Taken:
    """The results of an import.

    `counts`: the number of entries with each result. `problem`: the number of the first line that
    was refused, and the reason; empty if no line was refused.
    """

    counts: Counter[str] = field(default_factory=Counter)
    problem: str = ""

    def __str__(self) -> str:
        told = ", ".join(f"{name} {self.counts[name]}" for name in _FATES)
        return f"{told} ({self.problem})" if self.problem else told


def export_entries(client: AdminClient, path: Path, progress: Progress) -> int:
    """Write all entries to a file, or continue a file whose export broke off.

    Return how many entries were written. Raises CallFailed if the export breaks off. Raises
    BadInput if the file already has a complete export, or has content that is not an export.
    """
    stored = client.stats()["entries"] or {}
    written, is_whole = 0, False
    with _opened(path) as file, progress(path.name, stored.get("chat_completion", 0)) as step:
        cursor = _continued(file, path)
        for line in client.export(cursor):
            file.write(line)
            if _is_cursor(line):
                file.flush()
                is_whole = _cursor_in(line) is None
            else:
                written += 1
                step()
    if not is_whole:
        raise CallFailed(f"{path}: the export broke off; the same command continues it")
    return written


def import_entries(client: AdminClient, path: Path, first: int, progress: Progress) -> Taken:
    """Import the entries of a file, beginning with the line number `first`.

    Raises CallFailed if the import breaks off. The message says at which line to continue.
    """
    taken = Taken()
    with progress(path.name, sum(1 for _ in _lines(path))) as step:
        number = 1
        for batch in _batches(path):
            following = number + len(batch)
            if (skipped := max(0, first - number)) < len(batch):
                _send(client, batch[skipped:], number + skipped, taken)
            for _ in batch:
                step()
            number = following
    return taken


def _send(client: AdminClient, lines: list[bytes], number: int, taken: Taken) -> None:
    try:
        told = client.import_lines(b"".join(lines))
    except CallFailed as failed:
        raise CallFailed(f"{failed}; continue with --from-line {number}") from None
    taken.counts.update({name: told[name] for name in _FATES})
    if told["first_refused"] and not taken.problem:
        at = number - 1 + told["first_refused"]["line"]
        taken.problem = f"line {at}: {told['first_refused']['why']}"


def _opened(path: Path) -> BinaryIO:
    try:
        # Only for the owner, because it contains prompts and answers.
        return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b")
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from None


def _continued(file: BinaryIO, path: Path) -> str | None:
    """Remove everything after the last cursor in a file, and return that cursor.

    Return None if the file is empty. Raises BadInput if the file already has a complete export, or
    has content that is not an export.
    """
    end, last, is_empty = 0, b"", True
    for line in file:
        is_empty = False
        end += len(line)
        if _is_cursor(line):
            place, last = end, line
    if is_empty:
        return None
    if not last:
        raise BadInput(f"{path}: this file exists and is not an export")
    if (cursor := _cursor_in(last)) is None:
        raise BadInput(f"{path}: this file exists and is a complete export")
    file.seek(place)
    file.truncate()
    return cursor


def _is_cursor(line: bytes) -> bool:
    return line.startswith(_CURSOR) and line.endswith(b"\n")


def _cursor_in(line: bytes) -> str | None:
    try:
        cursor = load_json(line)["cursor"]
    except (NotUnderstood, LookupError, TypeError):
        raise BadInput("a line that should contain the cursor of the export does not") from None
    return None if cursor is None else str(cursor)


def _batches(path: Path) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    size = 0
    for line in _lines(path):
        batch.append(line)
        size += len(line)
        if len(batch) >= _LINES_AT_ONCE or size >= _BYTES_AT_ONCE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            yield from file
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise BadInput(f"{path}: not a complete gzip file") from None
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from None
