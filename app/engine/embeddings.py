"""Answers embeddings requests.

Each input of a request is looked up separately. Missing embeddings are fetched.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.core.cache_status import CacheStatus, Forward, Head, Outcome, Replay, Tier, whole_ttl
from app.core.errors import DependencyUnavailable, NotCached
from app.core.inflight import Hold
from app.core.models import StoredEmbedding
from app.core.offload import by_size
from app.dialects.embeddings import EmbeddingsAnswer, EmbeddingsRequest, Numbers, shares
from app.engine.batches import Batch, BatchSource, CombinedAnswer, document_headers
from app.engine.context import Context
from app.engine.decoded import Decoded
from app.engine.fetcher import Fetcher, Wanted
from app.engine.flights import Flight
from app.engine.forwarder import NOT_CACHED, Forwarder, Forwarding, outgoing
from app.engine.joined import Joined
from app.engine.resilience import Budget
from app.engine.resilient_store import ResilientEmbeddingStore
from app.engine.revalidation import Revalidations
from app.engine.savings import Savings
from app.engine.serving import new_request_id
from app.engine.stale_if_error import StaleIfError
from app.engine.write_order import WriteTicket
from app.rules import freshness
from app.rules.decisions import Recorded
from app.rules.key import callers_of
from app.rules.plan import EmbeddingsPlan

Fetching = Decoded | Joined | CombinedAnswer
EmbeddingsReply = Replay | Fetching | StaleIfError | Forwarding


@dataclass(frozen=True, slots=True)
class _BatchFetch:
    """A running upstream request for all inputs of a batch."""

    flight: Flight
    batch: Batch


class EmbeddingsAnswerer:
    """Answers embeddings requests from the store, and fetches missing ones from the upstream."""

    def __init__(
        self,
        store: ResilientEmbeddingStore,
        fetcher: Fetcher,
        forwarder: Forwarder,
        savings: Savings,
        context: Context,
    ) -> None:
        self._store = store
        self._fetcher = fetcher
        self._forwarder = forwarder
        self._savings = savings
        self._limits = context.limits
        self._keys = context.policy.keys
        self._collapsed = context.metrics.collapsed
        self._clock = context.clock
        self._revalidations = Revalidations(
            context.limits.max_bytes, context.clock, context.inflight
        )
        self._inflight = context.inflight
        self._under_way: dict[tuple[str, str, str], _BatchFetch] = {}  # by `_name`

    async def answer(self, plan: EmbeddingsPlan) -> EmbeddingsReply:
        """Return the answer to a request that may use the cache. The answer may still be arriving.

        1. If every input is stored, the answer is made from the store.
        2. Otherwise, some embeddings may come from upstream requests that are already running.
           One new upstream request fetches the embeddings that are still missing. If the
           upstream fails, stale embeddings may be served.

        Raises NotCached if the request has `only-if-cached` and cannot be answered from the store.
        """
        batch = Batch(plan.request, plan.parsed, plan.control, plan.limits, plan.digests)
        if not batch.control.no_cache:
            batch = await self._look_up(batch)
        is_served = plan.mode.serves(Tier.EXACT)
        if is_served and not batch.missing:
            if not self._inflight.has_room_for(batch.found_bytes):
                return self._forwarder.bypass(plan.request, "no-room")
            return await self._answer(batch)
        if batch.control.only_if_cached:
            raise NotCached(NOT_CACHED)
        if not is_served:
            return self._ask_alone(batch)
        answer = self._ask(batch)
        if not batch.limits.stale_lifetime:
            return answer
        return StaleIfError(answer, lambda failed: self._stand_in(batch, failed), waits=False)

    async def _answer(self, batch: Batch) -> Replay:
        """Return the answer to a batch whose embeddings are all stored.

        If some of the embeddings are stale, start a revalidation of the stale ones.
        """
        replay, now = await self._replay(batch), self._clock()
        replay = self._saving(batch, replay)
        stale = [e.id for e in batch.found.values() if not e.is_fresh(now)]
        if stale and not batch.control.only_if_cached and batch.limits.ttl > 0:
            fresh_only = replace(batch.control, max_stale=None, min_fresh=0)
            part = replace(_part_of(batch, stale), control=fresh_only)
            name = (self._store.epoch, part.asked.treatment, *stale)
            self._revalidations.begin(
                name,
                None,
                lambda flight: self._fill(part, flight),
                lambda: self._is_renewed(part),
            )
        return replay

    def _saving(self, batch: Batch, replay: Replay) -> Replay:
        """Add the savings of a fresh answer to its status, and count the savings.

        A stale answer is returned unchanged, and nothing is counted for it.
        """
        status = replay.head.cache_status
        if status.outcome is not Outcome.HIT:
            return replay
        found = [batch.found[digest] for digest in batch.digests]
        saved = self._savings.of_embeddings(found[0].model, [e.tokens for e in found])
        self._savings.note(found[0].model, saved)
        return replace(replay, head=replace(replay.head, cache_status=replace(status, saved=saved)))

    async def _stand_in(self, batch: Batch, failed: int | None) -> Replay | None:
        """Return an answer made from the store because the upstream failed.

        `failed` is the upstream's failure status, or None if the upstream sent no response. Return
        None if the client wants a new answer or if an embedding is missing.
        """
        if batch.control.no_cache:
            return None
        found = await self._look_up(batch, standing_in=True)
        return None if found.missing else (await self._replay(found)).instead_of(failed)

    async def _look_up(self, batch: Batch, *, standing_in: bool = False) -> Batch:
        """Return a copy of the batch with the stored embeddings that may be served.

        If different models computed these embeddings, the copy has no embeddings. `standing_in`
        is True if the upstream failed and stale embeddings may replace its answer.
        """
        digests = list(dict.fromkeys(batch.digests))
        try:
            stored = await self._store.get(digests, Budget(self._limits.store_timeout))
        except DependencyUnavailable as unavailable:
            return replace(batch, found={}, failure=unavailable.detail)
        found = _serving(batch, [e for e in stored if e], self._clock(), standing_in=standing_in)
        one_model = len({embedding.model for embedding in found.values()}) == 1
        return replace(batch, found=found if one_model else {})

    async def _replay(self, batch: Batch) -> Replay:
        """Return the answer to a batch whose embeddings are all stored."""
        now = self._clock()
        found = batch.found.values()
        oldest = _oldest(batch, now)
        known = {e.id: Numbers(e.numbers, e.width) for e in found}
        tokens = {e.id: e.tokens for e in found}
        with Hold(self._inflight) as hold:  # counted first, so that other requests see it
            hold.add(batch.found_bytes)
            body = await by_size(
                batch.found_bytes, lambda: batch.render(known, tokens, oldest.model)
            )
        status = _hit(batch, now)
        replay = Replay(Head(200, document_headers(body), status), body).named(new_request_id())
        return replay.readable_by(oldest.allow_origin) if oldest.allow_origin else replay

    def _ask_alone(self, batch: Batch) -> Decoded:
        """Fetch all embeddings, even stored ones, in a flight that no other request can join."""
        shadow = CacheStatus.miss("") if batch.missing else _hit(batch, self._clock())
        return Decoded(
            self._start(replace(batch, shadow=shadow)).flight.join(), batch.request.headers
        )

    def _ask(self, batch: Batch) -> Fetching:
        """Return an answer made from stored embeddings and from upstream requests.

        Embeddings that are already being fetched come from the running upstream requests. One new
        upstream request asks for all other missing embeddings. This method contains no `await`, so
        no other fetch of these embeddings can start while this method runs.
        """
        accepting = batch.request.headers
        fetched_already = self._being_fetched(batch)
        own = [digest for digest in batch.missing if digest not in fetched_already]
        if len(own) == len(set(batch.digests)):
            return Decoded(self._start(batch).flight.join(), accepting)
        fetches = list({id(fetch): fetch for fetch in fetched_already.values()}.values())
        if fetched_already:
            self._collapsed.inc()
        if len(fetches) == 1 and _is_same(fetches[0].batch, batch):
            joined = Decoded(fetches[0].flight.join(collapsed=True), accepting)
            return Joined(joined, lambda: Decoded(self._start(batch).flight.join(), accepting))

        sources = [BatchSource(a.flight.join(collapsed=True), a.batch, own=False) for a in fetches]
        if own:
            fetch = self._start(_part_of(batch, own))
            sources.append(BatchSource(fetch.flight.join(), fetch.batch, own=True))
        status = CacheStatus(
            Outcome.PARTIAL if batch.found else Outcome.MISS,
            forward="partial" if batch.found else "miss",
            detail=batch.failure,
            collapsed=bool(fetched_already),
        )
        return CombinedAnswer(
            batch,
            sources,
            status,
            lambda: self._forwarder.forward(outgoing(batch.request), status),
        )

    def _being_fetched(self, batch: Batch) -> dict[str, _BatchFetch]:
        if batch.control.no_cache:
            return {}
        fetches = {
            digest: self._under_way.get(self._name(batch, digest)) for digest in batch.missing
        }
        return {
            digest: fetch
            for digest, fetch in fetches.items()
            if fetch and fetch.batch.limits == batch.limits and fetch.flight.joinable
        }

    def _start(self, batch: Batch) -> _BatchFetch:
        limits = self._limits
        flight = Flight(
            lambda flight: self._fill(batch, flight),
            limits.max_bytes,
            finish=limits.finish_abandoned,
            inflight=self._inflight,
        )
        fetch = _BatchFetch(flight, batch)
        if not batch.control.no_cache:
            names = [self._name(batch, digest) for digest in batch.digests]
            self._under_way.update(dict.fromkeys(names, fetch))
            flight.on_end(lambda: self._forget(names, fetch))
        return fetch

    def _name(self, batch: Batch, digest: str) -> tuple[str, str, str]:
        return self._store.epoch, digest, batch.asked.treatment

    def _forget(self, names: list[tuple[str, str, str]], fetch: _BatchFetch) -> None:
        for name in names:
            if self._under_way.get(name) is fetch:
                del self._under_way[name]

    async def _is_renewed(self, batch: Batch) -> bool:
        return not (await self._look_up(batch)).missing

    async def _fill(self, batch: Batch, flight: Flight) -> None:
        """Look up a batch once more; if an embedding is missing, ask the upstream for the batch.

        `Handler._find` explains why a flight looks up again.
        """
        if not (batch.control.no_cache or batch.failure or batch.shadow):
            again = await self._look_up(batch)
            if not again.missing:
                answer = await self._replay(again)
                flight.begin(answer.head)
                await flight.write(answer.body)
                return
        forward: Forward = "request" if batch.control.no_cache else "miss"
        status = CacheStatus.miss("", forward=forward, detail=batch.failure)
        status = replace(status, shadow=batch.shadow)
        epoch = self._store.epoch  # read now, so that a later purge keeps the answer from the store

        async def keep(recorded: Recorded[EmbeddingsAnswer], ticket: WriteTicket) -> None:
            self._keep(batch, epoch, ticket, recorded)

        wanted = Wanted(
            batch.request,
            status,
            batch.digests,
            batch.limits,
            lambda _: batch.asked.reader(),
            keep,
        )
        await self._fetcher.fetch(wanted, flight)

    def _keep(
        self,
        batch: Batch,
        epoch: str,
        ticket: WriteTicket,
        recorded: Recorded[EmbeddingsAnswer],
    ) -> None:
        now, model = self._clock(), recorded.answer.model
        shared = shares(batch.asked.inputs, recorded.answer.usage)
        tokens = dict(zip(batch.digests, shared, strict=True))
        answered = dict(zip(batch.digests, recorded.answer.embeddings, strict=True))
        caller = callers_of(batch.request.headers, self._keys)
        kept = {e.id for e in batch.found.values() if batch.shadow and e.is_fresh(now)}
        stored = [
            StoredEmbedding(
                id=digest,
                model=model,
                numbers=e.raw,
                width=e.width,
                stored_at=now,
                freshness_lifetime=recorded.freshness_lifetime,
                stale_lifetime=recorded.stale_lifetime,
                epoch=epoch,
                allow_origin=recorded.allow_origin,
                tokens=tokens[digest],
                caller=caller,
            )
            for digest, e in answered.items()
            if digest not in kept and ticket.claim(digest)
        ]
        if stored:
            self._store.put(stored)

    async def aclose(self) -> None:
        """Wait for running revalidations, and cancel those that take longer than five seconds."""
        await self._revalidations.aclose()


def _oldest(batch: Batch, now: float) -> StoredEmbedding:
    return min(batch.found.values(), key=lambda embedding: embedding.ttl(now))


def _hit(batch: Batch, now: float) -> CacheStatus:
    """Return the status of the answer to a batch whose embeddings are all stored."""
    oldest = _oldest(batch, now)
    return CacheStatus(
        Outcome.HIT if oldest.is_fresh(now) else Outcome.STALE,
        tier=Tier.EXACT,
        age=max(int(embedding.age(now)) for embedding in batch.found.values()),
        ttl=whole_ttl(oldest, now),
    )


def _is_same(one: Batch, other: Batch) -> bool:
    """Return whether the answers to two batches are equal, byte for byte."""
    return (one.digests, one.asked.encoding) == (other.digests, other.asked.encoding)


def _serving(
    batch: Batch, stored: Sequence[StoredEmbedding], now: float, *, standing_in: bool
) -> dict[str, StoredEmbedding]:
    """Return the embeddings in `stored` that may be served, in a dictionary by exact key.

    Stale embeddings are included only if the stale and the fresh ones together answer every input
    of the batch. `standing_in` is True if the upstream failed and stale embeddings may replace its
    answer. In this case, embeddings that have been stale for a longer time may be served, too.
    """
    control, limits = batch.control, batch.limits
    fresh = {e.id: e for e in stored if freshness.may_answer(e, control, now)}
    rule = freshness.may_stand_in if standing_in else freshness.may_answer_stale
    stale = {e.id: e for e in stored if e.id not in fresh and rule(e, control, limits, now)}
    return fresh | stale if len(fresh | stale) == len(set(batch.digests)) else fresh


def _part_of(batch: Batch, digests: list[str]) -> Batch:
    """Return a copy of a batch with only the inputs whose exact keys are in `digests`."""
    inputs = dict(zip(batch.digests, batch.asked.inputs, strict=True))
    body = batch.asked.body_of([inputs[digest] for digest in digests])
    headers = [header for header in batch.request.headers if header[0] != b"content-length"]
    headers.append((b"content-length", b"%d" % len(body)))
    request = replace(batch.request, headers=headers, body=body)
    return replace(
        batch,
        request=request,
        asked=EmbeddingsRequest.parse(body, needs_model=False),
        digests=digests,
        found={},
    )
