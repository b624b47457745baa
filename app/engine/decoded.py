"""Decodes a compressed answer for a client that does not accept the answer's content coding."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from dataclasses import replace

from app.core.cache_status import Head
from app.core.content_codings import Decoder, content_coding, decoder_for
from app.core.errors import UpstreamInterrupted
from app.core.models import Header
from app.engine.answers import PendingAnswer
from app.rules.headers import accepts_coding

_OF_THE_CODED = frozenset({b"content-encoding", b"content-length", b"content-md5"})


class Decoded:
    """An answer that is decoded, unless the client accepts the answer's content coding.

    `accepting`: the headers of the client's request.

    Clients that share an answer may accept different codings, so the upstream is asked for answers
    without a coding. Some upstreams use a coding nevertheless. An answer with an unknown coding is
    passed on unchanged. Async iteration yields the body. Call `aclose` at the end.
    """

    def __init__(self, answer: PendingAnswer, accepting: Sequence[Header] = ()) -> None:
        self._answer = answer
        self._accepting = accepting
        self._body: AsyncIterable[bytes] = answer

    async def head(self) -> Head:
        """Wait for the answer's head and return it.

        If the body is decoded, the head has no Content-Encoding, Content-Length or Content-MD5.
        If the upstream request failed, raises the error of this request.
        """
        head = await self._answer.head()
        coding = content_coding(head.headers)
        if not coding or accepts_coding(self._accepting, coding):
            return head
        if (decoder := decoder_for(coding)) is None:
            return head
        self._body = _decoded(self._answer, decoder)
        headers = [header for header in head.headers if header[0] not in _OF_THE_CODED]
        return replace(head, headers=headers)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._body:
            yield piece

    async def aclose(self) -> None:
        """Close the answer. Further calls have no effect."""
        await self._answer.aclose()


async def _decoded(body: AsyncIterable[bytes], decoder: Decoder) -> AsyncIterator[bytes]:
    try:
        async for data in body:
            for piece in decoder.feed(data):
                yield piece
                # A few bytes may expand to many pieces, and a client that reads fast never makes
                # this task wait. Let other requests run.
                await asyncio.sleep(0)
    except ValueError as error:
        raise UpstreamInterrupted(
            "the upstream's answer does not have the content coding that its header names"
        ) from error
    if not decoder.is_finished:
        raise UpstreamInterrupted("the upstream's answer ends in the middle of its content coding")
