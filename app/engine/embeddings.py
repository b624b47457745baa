"""The path of an embeddings request: each input is looked up on its own, the rest is asked for."""

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial

from app.core.errors import DependencyUnavailable, NotCached, NotUnderstood
from app.core.metrics import Metrics
from app.core.models import (
    CacheStatus,
    ClientRequest,
    Clock,
    Forward,
    Head,
    Outcome,
    Replay,
    StoredEmbedding,
    Tier,
    whole_ttl,
)
from app.core.offload import by_size
from app.core.tags import tagging_of
from app.dialects.embeddings import EmbeddingsRequest, Numbers
from app.engine.batches import Batch, CombinedAnswer, Share, document_headers
from app.engine.flights import Flight, Reader
from app.engine.forwarder import NOT_CACHED, Forwarder, Forwarding, outgoing
from app.engine.recorder import EmbeddingsRecording, StorableEmbeddings
from app.engine.resilience import Budget
from app.engine.resilient_store import ResilientEmbeddingStore
from app.engine.revalidation import Revalidations
from app.engine.stale_if_error import StaleIfError
from app.engine.tee import relay
from app.engine.write_order import WriteOrder, WriteTicket
from app.rules import freshness
from app.rules.directives import directives
from app.rules.key import build_embedding_keys
from app.rules.policy import Policy

Coming = Reader | CombinedAnswer
EmbeddingsReply = Replay | Coming | StaleIfError | Forwarding


@dataclass(frozen=True, slots=True)
class _Asking:
    """An upstream request on its way, made for all inputs of a batch."""

    flight: Flight
    batch: Batch


class EmbeddingsHandler:
    """Answers embeddings requests from the store, and asks the upstream for what is missing."""

    def __init__(
        self,
        store: ResilientEmbeddingStore,
        forwarder: Forwarder,
        rules: Policy,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._store = store
        self._forwarder = forwarder
        self._rules = rules
        self._metrics = metrics
        self._clock = clock
        self._turns = WriteOrder()
        self._refreshes = Revalidations(rules.limits.max_bytes, clock)
        self._on_their_way: dict[tuple[str, str], _Asking] = {}  # by epoch and exact key

    async def handle(self, request: ClientRequest, body: bytes) -> EmbeddingsReply:
        """Choose what answers a request.

        1. A body that we cannot interpret, or that must not be cached, goes on as it came.
        2. If every input is stored, the store answers.
        3. Otherwise one upstream request asks for the inputs that are neither stored nor on
           their way already; those that are on their way are waited for. If the upstream fails,
           stale embeddings may stand in.
        """
        wanted = directives(request.headers)
        control = wanted.control
        try:
            asked = await by_size(len(body), partial(EmbeddingsRequest.parse, body))
        except NotUnderstood as unknown:
            return self._forwarder.bypass(request, unknown.detail)
        if control.no_store:
            return self._forwarder.bypass(request, "no-store")
        if tagging_of(request.headers) is None:
            return self._forwarder.bypass(request, "labels")

        keys = partial(build_embedding_keys, request, asked, self._rules.keys)
        limits = freshness.limits_for(self._rules.limits, wanted.ttl)
        batch = Batch(request, asked, control, limits, await by_size(len(body), keys))
        if not control.no_cache:
            batch = await self._look_up(batch)
        if not batch.missing:
            return await self._answer(batch)
        if control.only_if_cached:
            raise NotCached(NOT_CACHED)
        answer = self._ask(batch)
        if not limits.stale_lifetime:
            return answer
        return StaleIfError(answer, partial(self._stand_in, batch), waits=False)

    async def _answer(self, batch: Batch) -> Replay:
        """Render a batch of which every input is stored; newer ones are fetched behind stale ones.

        Stale ones serve only where nothing has to be waited for.
        """
        replay, now = await self._replay(batch), self._clock()
        stale = [e.id for e in batch.found.values() if not e.is_fresh(now)]
        if stale and not batch.control.only_if_cached and batch.limits.ttl > 0:
            fresh_only = replace(batch.control, max_stale=None, min_fresh=0)
            part = replace(_part_of(batch, stale), control=fresh_only)
            name = (self._store.epoch, *stale)
            fill, is_renewed = partial(self._fill, part), partial(self._is_renewed, part)
            self._refreshes.begin(name, None, fill, is_renewed)
        return replay

    async def _stand_in(self, batch: Batch, failed: int | None) -> Replay | None:
        """Render what may take the place of a failure of the upstream, if it is all stored."""
        if batch.control.no_cache:
            return None
        found = await self._look_up(batch, standing_in=True)
        return None if found.missing else (await self._replay(found)).instead_of(failed)

    async def _look_up(self, batch: Batch, *, standing_in: bool = False) -> Batch:
        """Find what is stored; embeddings of two models do not go into one answer."""
        digests = list(dict.fromkeys(batch.digests))
        try:
            stored = await self._store.get(digests, Budget(self._rules.limits.store_timeout))
        except DependencyUnavailable as unavailable:
            return replace(batch, found={}, failure=unavailable.detail)
        found = _serving(batch, [e for e in stored if e], self._clock(), standing_in=standing_in)
        one_model = len({embedding.model for embedding in found.values()}) == 1
        return replace(batch, found=found if one_model else {})

    async def _replay(self, batch: Batch) -> Replay:
        """Render a batch of which every input is stored."""
        now = self._clock()
        found = batch.found.values()
        oldest = min(found, key=lambda embedding: embedding.ttl(now))
        known = {e.id: Numbers(e.numbers, e.width) for e in found}
        size = sum(len(embedding.numbers) for embedding in found)
        body = await by_size(size, partial(batch.render, known, oldest.model, None))
        status = CacheStatus(
            Outcome.HIT if oldest.is_fresh(now) else Outcome.STALE,
            tier=Tier.EXACT,
            age=max(int(embedding.age(now)) for embedding in found),
            ttl=whole_ttl(oldest, now),
        )
        return Replay(Head(200, document_headers(body), status), body)

    def _ask(self, batch: Batch) -> Coming:
        """Join what is on its way, and ask for the rest. Nothing else runs in between."""
        coming = self._coming(batch)
        own = [digest for digest in batch.missing if digest not in coming]
        if len(own) == len(set(batch.digests)):
            return self._start(batch).flight.join()
        askings = list({id(asking): asking for asking in coming.values()}.values())
        if coming:
            self._metrics.collapsed.inc()
        if len(askings) == 1 and _is_same(askings[0].batch, batch):
            return askings[0].flight.join(collapsed=True)

        shares = [Share(a.flight.join(collapsed=True), a.batch.digests, own=False) for a in askings]
        if own:
            asking = self._start(_part_of(batch, own))
            shares.append(Share(asking.flight.join(), own, own=True))
        status = CacheStatus(
            Outcome.PARTIAL if batch.found else Outcome.MISS,
            forward="partial" if batch.found else "miss",
            detail=batch.failure,
            collapsed=bool(coming),
        )
        fallback = partial(self._forwarder.forward, outgoing(batch.request), status)
        return CombinedAnswer(batch, shares, status, fallback)

    def _coming(self, batch: Batch) -> dict[str, _Asking]:
        if batch.control.no_cache:
            return {}
        epoch = self._store.epoch
        askings = {digest: self._on_their_way.get((epoch, digest)) for digest in batch.missing}
        return {
            digest: asking
            for digest, asking in askings.items()
            if asking and asking.batch.limits == batch.limits and asking.flight.joinable
        }

    def _start(self, batch: Batch) -> _Asking:
        limits = self._rules.limits
        fill = partial(self._fill, batch)
        flight = Flight(fill, limits.max_bytes, finish=limits.finish_abandoned)
        asking = _Asking(flight, batch)
        if not batch.control.no_cache:
            names = [(self._store.epoch, digest) for digest in batch.digests]
            self._on_their_way.update(dict.fromkeys(names, asking))
            flight.on_end(lambda: self._forget(names, asking))
        return asking

    def _forget(self, names: list[tuple[str, str]], asking: _Asking) -> None:
        for name in names:
            if self._on_their_way.get(name) is asking:
                del self._on_their_way[name]

    async def _is_renewed(self, batch: Batch) -> bool:
        return not (await self._look_up(batch)).missing

    async def _fill(self, batch: Batch, flight: Flight) -> None:
        """Fetch a batch of which nothing was stored: look again first, as Proxy._find does."""
        if not batch.control.no_cache and not batch.failure:
            again = await self._look_up(batch)
            if not again.missing:
                answer = await self._replay(again)
                flight.begin(answer.head)
                await flight.write(answer.body)
                return
        forward: Forward = "request" if batch.control.no_cache else "miss"
        status = CacheStatus.miss("", forward=forward, detail=batch.failure)
        epoch = self._store.epoch  # of now: a purge while the answer is on its way defeats it
        request = outgoing(batch.request, identity=True)
        with self._turns.take(batch.digests) as turn:
            async with aclosing(await self._forwarder.send(request)) as response:
                head = Head(response.status_code, response.headers, status)
                recording = EmbeddingsRecording(len(batch.digests), head, batch.limits)
                await relay(
                    flight, response, head, recording, partial(self._keep, batch, epoch, turn)
                )
        if recording.reason:
            self._metrics.not_stored.labels(recording.reason).inc()

    async def _keep(
        self, batch: Batch, epoch: str, turn: WriteTicket, storable: StorableEmbeddings
    ) -> None:
        now, model = self._clock(), storable.answer.model
        answered = dict(zip(batch.digests, storable.answer.embeddings, strict=True))
        stored = [
            StoredEmbedding(
                id=digest,
                model=model,
                numbers=e.raw,
                width=e.width,
                stored_at=now,
                freshness_lifetime=storable.freshness_lifetime,
                stale_lifetime=storable.stale_lifetime,
                epoch=epoch,
            )
            for digest, e in answered.items()
            if turn.may_keep(digest)
        ]
        if stored:
            self._store.put(stored)

    async def aclose(self) -> None:
        """Finish what is being fetched behind answers that have been served."""
        await self._refreshes.aclose()


def _is_same(one: Batch, other: Batch) -> bool:
    """Tell whether two batches have the same answer, byte for byte."""
    return (one.digests, one.asked.encoding) == (other.digests, other.asked.encoding)


def _serving(
    batch: Batch, stored: Sequence[StoredEmbedding], now: float, *, standing_in: bool
) -> dict[str, StoredEmbedding]:
    """Give what may serve: stale embeddings only if with them there is nothing to ask for."""
    control, limits = batch.control, batch.limits
    fresh = {e.id: e for e in stored if freshness.may_answer(e, control, now)}
    rule = freshness.may_stand_in if standing_in else freshness.may_answer_stale
    stale = {e.id: e for e in stored if e.id not in fresh and rule(e, control, limits, now)}
    return fresh | stale if len(fresh | stale) == len(set(batch.digests)) else fresh


def _part_of(batch: Batch, digests: list[str]) -> Batch:
    """Make a batch of some inputs of another one."""
    inputs = dict(zip(batch.digests, batch.asked.inputs, strict=True))
    body = batch.asked.body_of([inputs[digest] for digest in digests])
    headers = [header for header in batch.request.headers if header[0] != b"content-length"]
    headers.append((b"content-length", b"%d" % len(body)))
    request = replace(batch.request, headers=headers, body=body)
    return replace(
        batch,
        request=request,
        asked=EmbeddingsRequest.parse(body),
        digests=digests,
        found={},
    )
