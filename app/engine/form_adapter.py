"""Changes the form of a flight's answer for clients that asked for another form."""

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from dataclasses import replace

from app.core.cache_status import CacheStatus, Head, Replay
from app.core.content_codings import content_coding
from app.core.errors import UpstreamInterrupted
from app.core.models import SharedAnswer
from app.dialects.dialect import ParsedRequest, StreamFilter
from app.engine.answers import PendingAnswer, pieces_of
from app.engine.decoded import Decoded
from app.engine.flights import Follower
from app.rules.headers import ALLOW_ORIGIN, value_of

_OK = 200

Render = Callable[[SharedAnswer, CacheStatus], Awaitable[Replay | None]]
"""A function that renders an answer in another form. It returns None if it cannot read the answer.
"""


class FormAdapter:
    """A flight's answer in the form that the client asked for.

    `parsed` is the client's request. If the flight's answer is a stream and the client wants a
    stream, too, the stream is filtered while it arrives, if possible. Otherwise, the complete
    answer is awaited, and `render` renders it.

    `again` sends the client's own request to the upstream. It is called if the flight's answer
    breaks off, cannot be shared or cannot be parsed. It is also called if the answer lacks a part
    of `usage` that the client is entitled to.

    An error response is passed on, with its content coding decoded. Async iteration yields the
    body. Call `aclose` at the end.
    """

    def __init__(
        self,
        reader: Follower,
        parsed: ParsedRequest,
        render: Render,
        again: Callable[[], PendingAnswer],
    ) -> None:
        self._reader = reader
        self._parsed = parsed
        self._render = render
        self._again = again
        self._source: PendingAnswer = Decoded(reader)
        self._body: AsyncIterable[bytes] = self._source

    async def head(self) -> Head:
        """Wait for the answer's head and return it.

        If the flight failed, raises the flight's error.
        """
        head = await self._source.head()
        if head.status_code != _OK:
            return head
        if narrowing := self._narrowing(head):
            self._body = _narrowed(self._source, narrowing)
            headers = [header for header in head.headers if header[0] != b"content-length"]
            return replace(head, headers=headers)
        whole = await self._reader.result()
        if (
            whole
            and whole.fullness >= self._parsed.form.entitled
            and (replay := await self._render(whole, head.cache_status))
        ):
            if allowed := value_of(head.headers, ALLOW_ORIGIN):
                replay = replay.readable_by(allowed)
            self._body = pieces_of(replay)
            return replay.head
        await self._source.aclose()
        self._body = self._source = self._again()
        return await self._source.head()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._body:
            yield piece

    async def aclose(self) -> None:
        """Stop reading the answer. Further calls have no effect."""
        await self._source.aclose()

    def _narrowing(self, head: Head) -> StreamFilter | None:
        """Return a filter that turns the flight's stream into the stream that the client wants.

        Return None if there is no such filter. In this case, the complete answer must be rendered.
        """
        if head.cache_status.is_stored:  # a stored answer is complete at once: no need to filter
            return None
        if content_coding(head.headers):  # a coding that could not be decoded
            return None
        media_type = (value_of(head.headers, b"content-type") or "").partition(";")[0]
        if media_type.strip().lower() != "text/event-stream":
            return None
        return self._parsed.narrowing(self._reader.form)


async def _narrowed(pieces: PendingAnswer, narrowing: StreamFilter) -> AsyncIterator[bytes]:
    try:
        async for piece in pieces:
            if told := narrowing.feed(piece):
                yield told
        if told := narrowing.flush():
            yield told
    except UnicodeDecodeError:
        raise UpstreamInterrupted("the upstream's stream is not UTF-8") from None
