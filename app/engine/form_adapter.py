"""Readers of a flight who asked for its answer in another form than its leader did."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

from app.core.errors import UpstreamInterrupted
from app.core.models import CacheStatus, Head, Replay
from app.dialects.chat_completions.replay import without_usage
from app.dialects.chat_completions.request import Form
from app.dialects.sse import EventParser
from app.engine.answers import pieces_of
from app.engine.flights import Reader
from app.rules.headers import value_of

_OK = 200

Render = Callable[[bytes, CacheStatus], Awaitable[Replay | None]]
"""Renders a completion as the request asks for it, or gives None if it cannot be read."""


class FormAdapter:
    """One flight's answer in the form that this reader asked for.

    A stream that usage was asked for, and that this reader wants without, is adapted as it arrives.
    Whoever wants a stream for a whole answer, or the other way round, waits for what the answer
    adds up to. If that is nothing, because it is cut or not understood, or if it lacks what this
    reader is entitled to, the upstream is asked `again`, in the reader's own form. Errors are of no
    form and reach everybody. Async iteration gives the body. Close it.
    """

    def __init__(
        self, reader: Reader, form: Form, render: Render, again: Callable[[], Reader]
    ) -> None:
        self._reader = reader
        self._form = form
        self._render = render
        self._again = again
        self._body: AsyncIterator[bytes] = aiter(reader)

    async def head(self) -> Head:
        """Wait for the beginning of the answer; raises what the flight failed with."""
        head = await self._reader.head()
        if head.status_code != _OK:
            return head
        if self._is_live(head):
            self._body = _without_usage(self._reader)
            headers = [header for header in head.headers if header[0] != b"content-length"]
            return replace(head, headers=headers)
        whole = await self._reader.result()
        if (
            whole
            and whole.fullness >= self._form.entitled
            and (replay := await self._render(whole.completion, head.cache_status))
        ):
            self._body = pieces_of(replay)
            return replay.head
        await self._reader.aclose()
        self._reader = self._again()
        self._body = aiter(self._reader)
        return await self._reader.head()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._body:
            yield piece

    async def aclose(self) -> None:
        """Leave the flight; idempotent."""
        await self._reader.aclose()

    def _is_live(self, head: Head) -> bool:
        if head.cache_status.is_stored:  # all that was stored is here at once
            return False
        media_type = (value_of(head.headers, b"content-type") or "").partition(";")[0]
        leader = self._reader.form
        if not isinstance(leader, Form) or leader.entitled < self._form.entitled:
            return False
        is_stream = leader.stream and self._form.stream
        return is_stream and media_type.strip().lower() == "text/event-stream"


async def _without_usage(pieces: Reader) -> AsyncIterator[bytes]:
    """Leave the usage out of a stream of chunks; what is not a chunk stays as it is."""
    parser = EventParser()
    try:
        async for piece in pieces:
            if told := b"".join(without_usage(event) for event in parser.feed(piece)):
                yield told
        if told := b"".join(without_usage(event) for event in parser.flush()):
            yield told
    except UnicodeDecodeError:
        raise UpstreamInterrupted("the upstream's stream is not UTF-8") from None
