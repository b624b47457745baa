"""Combines stored embeddings with the embeddings from running upstream requests."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.core.cache_status import CacheStatus, Head
from app.core.errors import Failure, NotUnderstood, UpstreamInterrupted, UpstreamUnreachable
from app.core.models import ClientRequest, Header, StoredEmbedding
from app.dialects import embeddings as dialect
from app.dialects.embeddings import EmbeddingsAnswer, EmbeddingsRequest, Numbers
from app.engine.decoded import Decoded
from app.engine.flights import Follower
from app.engine.forwarder import Forwarding
from app.engine.joined import is_refusal
from app.rules.headers import ALLOW_ORIGIN, CacheControl
from app.rules.limits import Limits

_OK = 200


@dataclass(frozen=True, slots=True)
class Batch:
    """An embeddings request and the results of its look-up.

    `digests`: the exact keys of the request's inputs, in order.
    `found`: the stored embeddings, by exact key.
    `failure`: the part of the cache that failed; None if no part failed.
    `shadow`: the cache status that the answer would have without shadow mode. In other modes, this
    is None.
    """

    request: ClientRequest
    asked: EmbeddingsRequest
    control: CacheControl
    limits: Limits
    digests: Sequence[str]
    found: Mapping[str, StoredEmbedding] = field(default_factory=dict)
    failure: Failure | None = None
    shadow: CacheStatus | None = None

    @property
    def missing(self) -> list[str]:
        """The exact keys of the inputs that are not stored, without duplicates."""
        return [digest for digest in dict.fromkeys(self.digests) if digest not in self.found]

    @property
    def found_bytes(self) -> int:
        """The size in bytes of the stored embeddings. An input that occurs twice counts twice."""
        found = self.found
        return sum(len(found[digest].numbers) for digest in self.digests if digest in found)

    def render(
        self, known: Mapping[str, Numbers], tokens: Mapping[str, float | None], model: str
    ) -> bytes:
        """Return the body of the answer, with numbers in the encoding that this request asks for.

        `known` maps the exact key of each input to the input's embedding. `tokens` maps the exact
        key of each input to the input's token count, or to None if the count is unknown. `model`
        is the name of the model that computed the embeddings.
        """
        embeddings = [known[digest] for digest in self.digests]
        usage = dialect.usage_of(tokens[digest] for digest in self.digests)
        return dialect.render(embeddings, self.asked.encoding, model, usage)


@dataclass(frozen=True, slots=True)
class BatchSource:
    """One upstream request whose answer is part of a combined answer.

    `reader`: reads the answer to the upstream request.
    `batch`: the inputs in the upstream request.
    `own`: True if the upstream request was made for this client. False if it was made for
    another client.
    """

    reader: Follower
    batch: Batch
    own: bool


class CombinedAnswer:
    """One answer made from stored embeddings and from one or more upstream requests.

    An error response of the upstream is passed on. `fallback` forwards the client's whole request.
    `fallback` is called in two cases: the upstream refuses a request that was made for another
    client, or the answers cannot be combined. Answers cannot be combined if one of the answers
    cannot be parsed, or if the answers come from different models.

    Async iteration yields the body. Call `aclose` at the end.
    """

    def __init__(
        self,
        batch: Batch,
        sources: Sequence[BatchSource],
        status: CacheStatus,
        fallback: Callable[[], Forwarding],
    ) -> None:
        self._batch = batch
        self._sources = sources
        self._status = status
        self._fallback = fallback
        self._forwarding: Forwarding | None = None
        self._body = b""

    async def head(self) -> Head:
        """Wait for all upstream requests and return the head of the combined answer.

        If one of the upstream requests failed, raises the error of this request.
        """
        answers = await _together([_read(source.reader) for source in self._sources])
        for source, (head, body) in zip(self._sources, answers, strict=True):
            if head.status_code != _OK and not source.own and is_refusal(head.status_code):
                self._forwarding = self._fallback()
                return await self._forwarding.head()
            if head.status_code != _OK:
                self._body = body
                return head
        try:
            self._body = self._put_together([body for _, body in answers])
        except NotUnderstood:
            self._forwarding = self._fallback()
            return await self._forwarding.head()
        headers = document_headers(self._body)
        headers += [header for header in answers[0][0].headers if header[0] == ALLOW_ORIGIN]
        return Head(200, headers, self._status)

    def _put_together(self, bodies: Sequence[bytes]) -> bytes:
        known = {d: Numbers(e.numbers, e.width) for d, e in self._batch.found.items()}
        models = {e.model for e in self._batch.found.values()}
        tokens = {d: e.tokens for d, e in self._batch.found.items()}
        for source, body in zip(self._sources, bodies, strict=True):
            digests, inputs = source.batch.digests, source.batch.asked.inputs
            answer = EmbeddingsAnswer.parse(body, len(digests))
            known |= dict(zip(digests, answer.embeddings, strict=True))
            tokens |= dict(zip(digests, dialect.shares(inputs, answer.usage), strict=True))
            models.add(answer.model)
        if len(models) > 1 or len({known[digest].count for digest in self._batch.digests}) > 1:
            raise NotUnderstood("unknown-body")  # vectors of two models cannot be compared
        return self._batch.render(known, tokens, models.pop())

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._forwarding is None:
            yield self._body
            return
        async for piece in self._forwarding:
            yield piece

    async def aclose(self) -> None:
        """Stop reading the answers to the upstream requests. Further calls have no effect."""
        for source in self._sources:
            await source.reader.aclose()
        if self._forwarding is not None:
            await self._forwarding.aclose()


def document_headers(body: bytes) -> list[Header]:
    """Return `content-type` and `content-length` for a JSON body."""
    return [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]


async def _read(reader: Follower) -> tuple[Head, bytes]:
    answer = Decoded(reader)
    head = await answer.head()
    try:
        return head, b"".join([piece async for piece in answer])
    except UpstreamInterrupted as interrupted:
        raise UpstreamUnreachable("The upstream's answer broke off.") from interrupted


async def _together(
    reads: Sequence[Coroutine[Any, Any, tuple[Head, bytes]]],
) -> list[tuple[Head, bytes]]:
    # Read all of them at the same time, because a flight waits for its slowest reader.
    tasks = [asyncio.ensure_future(read) for read in reads]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
