"""GET /cache/export and POST /cache/import: any number of entries, streamed as lines of JSON."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from fastapi import Request
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.requests import ClientDisconnect
from starlette.types import Send

from app.api.admin.documents import asked, selector_in
from app.core.errors import (
    ClientDisconnected,
    DependencyUnavailable,
    EmbedderUnavailable,
    InvalidRequest,
    StoreUnavailable,
)
from app.core.models import Clock, Page
from app.core.offload import by_size
from app.core.selectors import Selector
from app.dialects.dialect import Dialect
from app.dialects.strict_json import JsonObject
from app.engine.operations import Fate, Operations
from app.stores.portable import Portable, cursor_line, line_of, portable_of

_PAGE = 100  # entries
_AT_ONCE = 64  # lines that are read and then stored together
_BYTES_AT_ONCE = 4_194_304
_LONGEST_LINE = 67_108_864  # bytes
_TASKS = 4

_logger = logging.getLogger("reprise.admin")


@dataclass(slots=True)
class _Report:
    """Counts the lines of an import.

    `fates` maps each result to the number of valid entries with this result. `refused` is
    the number of invalid lines. `first_refused` describes the first of these lines.
    """

    lines: int = 0
    fates: Counter[Fate] = field(default_factory=Counter)
    refused: int = 0
    first_refused: JsonObject | None = None

    def refuse(self, number: int, why: str) -> None:
        self.refused += 1
        self.first_refused = self.first_refused or {"line": number, "why": why}

    def document(self) -> JsonObject:
        told: JsonObject = {fate.value: self.fates[fate] for fate in Fate}
        return {**told, "refused": self.refused, "first_refused": self.first_refused}


class Transfer:
    """The endpoints for export and import.

    `dialects` maps names to dialects. Only answers of these dialects can be imported.
    """

    def __init__(
        self, operations: Operations, clock: Clock, dialects: Mapping[str, Dialect]
    ) -> None:
        self._curator = operations
        self._dialects = dialects
        self._mark = operations.mark
        self._clock = clock

    async def export(self, request: Request) -> StreamingResponse:
        """Stream all entries, or the entries that the query string selects.

        If the query string has a `cursor`, the export begins at the position of this cursor.
        """
        query = request.query_params
        selector = selector_in(query, "cursor")
        mark, is_marked, cursor = query.get("cursor", f"{self._mark}-").partition("-")
        if not is_marked or mark != self._mark:
            raise InvalidRequest(
                "The cursor is not valid: it belongs to another store, or the proxy has "
                "restarted since. Start a new export."
            )
        first = await asked(self._curator.scan(cursor, _PAGE, selector))
        return _Lines(self._lines(cursor, first, selector), media_type="application/jsonl")

    async def _lines(self, cursor: str, page: Page, selector: Selector) -> AsyncIterator[bytes]:
        yield cursor_line(f"{self._mark}-{cursor}")
        exported = 0
        try:
            while True:
                embeddings = await self._curator.embeddings_of(page.entries)
                for stored, embedding in zip(page.entries, embeddings, strict=True):
                    portable = Portable(stored, embedding, self._curator.embedder)
                    yield await by_size(len(stored.content), partial(line_of, portable))
                    exported += 1
                if not page.cursor:
                    yield cursor_line(None)
                    return
                yield cursor_line(f"{self._mark}-{page.cursor}")
                page = await self._curator.scan(page.cursor, _PAGE, selector)
        finally:
            _logger.info("exported %d entries", exported)

    async def import_(self, request: Request) -> JSONResponse:
        """Store the entries in the body.

        An entry is skipped if the store already has the same entry or a newer one. Return how many
        entries were imported, skipped, expired and refused, and the first refused line.
        """
        report = _Report()
        try:
            async for lines in _batches(request):
                await self._store(lines, report)
        except ClientDisconnect:
            raise ClientDisconnected from None
        except DependencyUnavailable as unavailable:
            is_embedder = unavailable.detail == "embedder-unavailable"
            refusal = EmbedderUnavailable if is_embedder else StoreUnavailable
            raise refusal(
                f"The import stopped: only the first {report.lines} lines were processed."
            ) from None
        finally:
            told = ", ".join(f"{fate.value} {report.fates[fate]}" for fate in Fate)
            _logger.info("import: %s, refused %d entries", told, report.refused)
        return JSONResponse(report.document())

    async def _store(self, lines: Sequence[bytes], report: _Report) -> None:
        """Store the entries in `lines`, several at a time.

        If several entries have the same id, only the newest of them is stored.
        """
        newest: dict[str, Portable] = {}
        for number, line in enumerate(lines, report.lines + 1):
            if (portable := await self._read(number, line, report)) is None:
                continue
            known = newest.setdefault(portable.stored.id, portable)
            if known is not portable:
                report.fates[Fate.KEPT] += 1
                newest[portable.stored.id] = max(known, portable, key=_stored_at)
        waiting = list(newest.values())

        async def work() -> None:
            while waiting:
                one = waiting.pop()
                fate = await self._curator.restore(one.stored, one.embedding, one.embedder)
                report.fates[fate] += 1

        tasks = [asyncio.create_task(work()) for _ in range(_TASKS)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        report.lines += len(lines)

    async def _read(self, number: int, line: bytes, report: _Report) -> Portable | None:
        """Return the entry in a line, or None if the line has no entry that should be stored.

        `number` is the line's position in the import, starting at 1. Refused lines and expired
        entries should not be stored. They are counted in `report`.
        """
        if not line.strip():
            return None
        await asyncio.sleep(0)  # lets other requests run
        now = self._clock()
        try:
            portable = await by_size(len(line), partial(portable_of, line, now, self._dialects))
        except ValueError as error:
            report.refuse(number, str(error))
            return None
        if portable is not None and portable.stored.left(now) <= 0:
            report.fates[Fate.EXPIRED] += 1
            return None
        return portable


def _stored_at(portable: Portable) -> float:
    return portable.stored.stored_at


class _Lines(StreamingResponse):
    """A response that consists of lines.

    If the store fails, the response is left unfinished and the connection is closed.
    """

    async def stream_response(self, send: Send) -> None:
        """Send the lines. If the store fails, log a warning and stop."""
        try:
            await super().stream_response(send)
        except DependencyUnavailable:
            _logger.warning(
                "an export broke off because the store failed; the same command continues it"
            )


async def _batches(request: Request) -> AsyncIterator[Sequence[bytes]]:
    """Yield lists of successive lines of a request's body.

    Raises InvalidRequest if a line is too long.
    """
    lines: list[bytes] = []
    size, rest = 0, [b""]
    async for piece in request.stream():
        first, *others = piece.split(b"\n")
        rest.append(first)
        size += len(piece)
        for other in others:
            lines.append(b"".join(rest))
            rest = [other]
        if len(lines) >= _AT_ONCE or (lines and size >= _BYTES_AT_ONCE):
            for start in range(0, len(lines), _AT_ONCE):
                yield lines[start : start + _AT_ONCE]
            lines, size = [], sum(map(len, rest))
        if size > _LONGEST_LINE:
            raise InvalidRequest(f"A line is longer than {_LONGEST_LINE} bytes.")
    yield [*lines, b"".join(rest)]
