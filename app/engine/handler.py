"""The path of a request, from what the client sent to what will answer it."""

import random
from collections.abc import Hashable
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial

from app.core.defects import log_defect
from app.core.errors import NotCached, NotUnderstood
from app.core.metrics import Metrics
from app.core.models import (
    BypassReason,
    CacheKey,
    CacheStatus,
    ClientRequest,
    Clock,
    Forward,
    Fullness,
    Head,
    Outcome,
    Replay,
    StoredResponse,
    Whole,
)
from app.core.offload import by_size
from app.core.recent import Recent
from app.core.tags import tagging_of
from app.dialects.chat_completions import replay
from app.dialects.chat_completions.request import ChatRequest
from app.engine.fleet import Lead
from app.engine.flights import Flight, Reader, SingleFlight
from app.engine.form_adapter import FormAdapter
from app.engine.forwarder import NOT_CACHED, Forwarder, Forwarding, outgoing
from app.engine.lookup import Hit, Lookup, SemanticCache, Watch
from app.engine.recorder import ChatRecording, Storable
from app.engine.revalidation import Revalidations, follow
from app.engine.stale_if_error import StaleIfError
from app.engine.tee import relay
from app.engine.write_order import WriteOrder, WriteTicket
from app.rules import cacheability, freshness
from app.rules.cacheability import Limits
from app.rules.directives import Directives, directives
from app.rules.headers import credentials
from app.rules.key import build_key
from app.rules.key_parts import KeyParts, key_parts, parts_text
from app.rules.policy import Policy
from app.rules.time_bound import TimeBound, time_bound_of, year_of

_MOST_LOOKS = 3
_QUESTIONS_KNOWN = 4096

Answer = Replay | Reader | FormAdapter | StaleIfError | Forwarding


@dataclass(frozen=True, slots=True)
class Plan:
    """A request that may use the cache, what it asks for, and how far its look-up has come.

    `size` is that of its body, in bytes; `limits` are its own; `ends_at` is the time at which its
    answer ends, whatever its lifetime.
    """

    request: ClientRequest
    chat: ChatRequest
    size: int
    asked: Directives
    limits: Limits
    ends_at: float
    lookup: Lookup


class Handler:
    """Answers chat completion requests from the cache, or else from the upstream."""

    def __init__(
        self,
        cache: SemanticCache,
        forwarder: Forwarder,
        rules: Policy,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._cache = cache
        self._forwarder = forwarder
        self._rules = rules
        self._metrics = metrics
        self._clock = clock
        self._flights = SingleFlight(rules.limits.max_bytes, finish=rules.limits.finish_abandoned)
        self._refreshes = Revalidations(rules.limits.max_bytes, clock)
        self._turns = WriteOrder()
        self._volatile: Recent[tuple[str, int], TimeBound] = Recent(_QUESTIONS_KNOWN)

    async def handle(self, request: ClientRequest, body: bytes) -> Answer:
        """Choose what answers a request: a stored response, a flight, or the upstream alone.

        1. A body that we cannot interpret, or that must not be cached, goes on as it came.
        2. The very same question is answered from the store.
        3. Otherwise the request joins the flight of its question, or starts it. If the upstream
           fails, a stale response may stand in.
        """
        question = await self.understand(request, body)
        if not isinstance(question, Plan):
            return self._forwarder.bypass(request, question)

        lookup = question.lookup
        if lookup.control.no_cache:
            return self._flights.alone(partial(self._fill, question))

        if replay := await self._answer(question, await self._cache.exact(lookup)):
            return replay
        answer = self._join(question)
        if lookup.control.only_if_cached or not question.limits.stale_lifetime:
            return answer
        return StaleIfError(answer, partial(self._stand_in, question), waits=lookup.is_stale)

    def _join(self, question: Plan) -> Reader | FormAdapter:
        """Join the flight of a question, in whatever form it was asked for first, or start it.

        A flight that has not asked for `usage` is only for those who do not either.
        """
        lookup, form = question.lookup, question.chat.form
        flight = (
            *(lookup.key.digest, self._cache.epoch),
            *(question.asked, lookup.tagging.tags, question.ends_at),
        )
        fill = partial(self._fill, question)
        is_plain = lookup.entitled is Fullness.PLAIN
        fuller = [(*flight, False)] if is_plain else []
        reader = self._flights.join((*flight, is_plain), fill, form, fuller)
        if reader.collapsed:
            self._metrics.collapsed.inc()
        if reader.form == form:
            return reader
        again = partial(self._flights.join, (*flight, form), fill, form)
        return FormAdapter(reader, form, partial(self._render, question.chat), again)

    async def understand(
        self, request: ClientRequest, body: bytes, watch: Watch | None = None
    ) -> Plan | BypassReason:
        """Read a request, and begin its look-up; or say why it must not use the cache."""
        asked = directives(request.headers)
        try:
            chat = await by_size(len(body), partial(ChatRequest.parse, body))
        except NotUnderstood as unknown:
            return unknown.detail
        if reason := cacheability.bypass_reason(chat, asked.control, self._rules.limits):
            return reason
        if (labels := tagging_of(request.headers)) is None:
            return "labels"
        key = await by_size(len(body), partial(build_key, request, chat, self._rules.keys))
        limits, now = self._rules.limits, self._clock()
        time_bound = self._volatility_of(key, chat, now)
        control = freshness.bound(asked.control, time_bound, limits, now)
        lookup = self._cache.lookup(key, control, credentials(request.headers), asked.max_distance)
        lookup.tagging, lookup.watch = labels, watch
        lookup.entitled = chat.form.entitled
        return Plan(
            request=request,
            chat=chat,
            size=len(body),
            asked=asked,
            limits=freshness.limits_for(limits, asked.ttl, time_bound),
            ends_at=freshness.ends_at(time_bound, now),
            lookup=lookup,
        )

    def _volatility_of(self, key: CacheKey, chat: ChatRequest, now: float) -> TimeBound:
        """Tell what the answer to a request is bound to; of the very same question, once."""
        name = (key.digest, year_of(now))
        if (known := self._volatile.get(name)) is None:
            known = time_bound_of(chat, now)
            self._volatile.keep(name, known)
        return known

    async def foresee(self, request: ClientRequest, question: Plan | BypassReason) -> CacheStatus:
        """Tell what `handle` would say of a request, were no other on its way; ask no upstream.

        Raises NotCached.
        """
        if not isinstance(question, Plan):
            return self._forwarder.bypass(request, question).status
        answer = await self._replay(question, await self._find(question.lookup))
        return answer.head.cache_status if answer else _miss(question.lookup)

    async def look_around(self, question: Plan) -> Lookup:
        """Look a question up once more and to the end, whatever could answer it at once."""
        lookup = self._cache.again(question.lookup)
        await self._cache.exact(lookup)
        await self._cache.semantic(lookup)
        return lookup

    async def parts(self, question: Plan) -> KeyParts:
        """Name what must match exactly."""
        work = partial(key_parts, question.request, question.chat, self._rules.keys)
        return await by_size(question.size, work)

    async def _fill(self, question: Plan, flight: Flight) -> None:
        """Fetch the answer of a flight: from the store by meaning, or from the upstream."""
        lookup = question.lookup
        try:
            hit = await self._find(lookup)
            answer = await self._answer(question, hit)
        except Exception as error:  # noqa: BLE001 - a defect of ours costs a hit and no answer
            log_defect(error)
            hit, lookup.failure = None, "defect"
        if hit and answer:
            await _give(flight, hit, answer)
            return
        status = _miss(lookup)
        # What is not stored, nobody else would find.
        if lookup.control.no_cache or lookup.failure or question.limits.ttl <= 0:
            await self._forward(question, status, flight, Lead())
            return
        if refresh := self._refreshes.join(*self._name(question)):
            self._metrics.collapsed.inc()
            await follow(flight, refresh)
            return
        look = partial(self._look, question)
        written = partial(self._cache.written, lookup.key)
        lease = lookup.key.digest + ("-plain" if lookup.entitled is Fullness.PLAIN else "")
        async with self._forwarder.fleet.lead(lease, look, written) as lead:
            if lead.found:
                await _give(flight, *lead.found)
            else:
                await self._forward(question, status, flight, lead)

    async def _look(self, question: Plan) -> tuple[Hit, Replay] | None:
        """Look whether another proxy has stored the answer meanwhile."""
        hit = await self._look_again(question)
        answer = await self._answer(question, hit)
        return (hit, answer) if hit and answer else None

    async def _look_again(self, question: Plan) -> Hit | None:
        """Look the very same question up, and learn the labels of what is stored by now."""
        lookup = self._cache.again(question.lookup)
        hit = await self._cache.exact(lookup)
        question.lookup.carried = lookup.carried
        return hit

    async def _refresh(self, question: Plan, flight: Flight) -> None:
        """Fetch a newer answer than a stale one, unless the store has one by now."""
        again = replace(question, lookup=self._cache.again(question.lookup))
        if found := await self._fresh(again):
            await _give(flight, *found)
            return
        await self._cache.embed(again.lookup)
        await self._forward(again, _miss(again.lookup), flight, Lead())

    async def _is_renewed(self, question: Plan) -> bool:
        again = replace(question, lookup=self._cache.again(question.lookup))
        return await self._fresh(again) is not None

    async def _fresh(self, question: Plan) -> tuple[Hit, Replay] | None:
        """Look for a fresh answer to the very same question; what is being stored is waited for."""
        hit = await self._cache.exact(question.lookup)
        found = await self._replay(question, hit)
        is_fresh = found is not None and found.head.cache_status.outcome is Outcome.HIT
        return (hit, found) if hit and found and is_fresh else None

    def _name(self, question: Plan) -> tuple[tuple[str, str], Hashable]:
        """Name what a refresh of this question fetches, and in what form it comes and is kept."""
        kept_as = (question.asked.ttl, question.lookup.tagging.tags)
        return (question.lookup.key.digest, self._cache.epoch), (question.chat.form, *kept_as)

    async def _find(self, lookup: Lookup) -> Hit | None:
        """Look again for the same question, then for one that means the same.

        A caller who wants another answer gets none: its text is embedded, and only the labels are
        learnt of the entry whose place the new answer will take.

        Why again: a flight collapses only requests that overlap with it.

            1. A looks up, finds nothing.         2. B looks up the same, finds nothing.
            3. A starts the flight, the upstream answers, the answer is stored, the flight ends.
            4. B, whose look-up took longer to come back, finds no flight to join, starts one.

        Without a second look, B asks the upstream for what has just been stored.
        """
        if lookup.control.no_cache:
            await self._cache.embed(lookup)
            return await self._cache.exact(lookup)
        return await self._cache.exact(lookup) or await self._cache.semantic(lookup)

    async def _forward(
        self,
        question: Plan,
        status: CacheStatus,
        flight: Flight,
        lead: Lead[tuple[Hit, Replay]],
    ) -> None:
        """Pass the upstream's answer on as it arrives, and keep a copy that may be stored."""
        request = outgoing(question.request, identity=True)
        epoch = self._cache.epoch  # of now: a purge while the answer is on its way defeats it
        with self._turns.take([question.lookup.key.digest]) as turn:
            async with aclosing(await self._forwarder.send(request)) as response:
                head = Head(response.status_code, response.headers, status)
                recording = ChatRecording(question.chat, head, question.limits)
                keep = partial(self._keep, question, epoch, turn)
                await relay(flight, lead.watch(response), head, recording, keep)
        if recording.reason:
            self._metrics.not_stored.labels(recording.reason).inc()

    async def _keep(self, question: Plan, epoch: str, turn: WriteTicket, answer: Storable) -> None:
        parts = await self.parts(question)
        seen = 0
        for _ in range(_MOST_LOOKS):  # those who asked with other tags meanwhile keep them
            if (latest := turn.latest_kept(question.lookup.key.digest)) == seen:
                break
            seen = latest
            await self._look_again(question)
        now = self._clock()
        if now >= question.ends_at or not turn.may_keep(question.lookup.key.digest):
            return
        stored = StoredResponse(
            key=question.lookup.key,
            model=question.chat.model,
            completion=answer.completion,
            stored_at=now,
            freshness_lifetime=min(answer.freshness_lifetime, question.ends_at - now),
            stale_lifetime=answer.stale_lifetime,
            epoch=epoch,
            parts=parts_text(parts),
            tagging=question.lookup.tagging.joined(question.lookup.carried),
            fullness=answer.fullness,
        )
        self._cache.store(stored, None if answer.exact_only else question.lookup.embedding)

    async def _answer(self, question: Plan, hit: Hit | None) -> Replay | None:
        """Render a hit and count it; behind a stale one, a newer answer is fetched."""
        replay = await self._serve(question, hit)
        is_stale = replay is not None and replay.head.cache_status.outcome is Outcome.STALE
        may_fetch = not question.lookup.control.only_if_cached and question.limits.ttl > 0
        if is_stale and may_fetch:
            self._refreshes.begin(
                *self._name(question),
                partial(self._refresh, question),
                partial(self._is_renewed, question),
            )
        return replay

    async def _stand_in(self, question: Plan, failed: int | None) -> Replay | None:
        """Render what may take the place of a failure of the upstream."""
        replay = await self._serve(question, await self._cache.stand_in(question.lookup))
        return replay and replay.instead_of(failed)

    async def _serve(self, question: Plan, hit: Hit | None) -> Replay | None:
        """Render a hit and count it."""
        replay = await self._replay(question, hit)
        if hit is not None and replay is not None:
            self._cache.hits.note(hit.stored, hit.distance)
        return replay

    async def aclose(self) -> None:
        """Finish what is being fetched though nobody waits for it."""
        await self._flights.aclose()
        await self._refreshes.aclose()

    async def _replay(self, question: Plan, hit: Hit | None) -> Replay | None:
        """Render a hit; a stored response that cannot be read is a miss."""
        if hit is None:
            return None
        status = CacheStatus.hit(hit.stored, self._clock(), hit.distance)
        answer = await self._render(question.chat, hit.stored.completion, status)
        if answer is None:
            self._metrics.failures.labels("store").inc()
        return answer

    async def _render(
        self, chat: ChatRequest, completion: bytes, status: CacheStatus
    ) -> Replay | None:
        """Render a completion as a request asks for it, or give None if it cannot be read."""
        completion_id = f"chatcmpl-{random.getrandbits(128):032x}"
        render = partial(replay.replay, completion, chat, status)
        try:
            return await by_size(
                len(completion),
                partial(render, completion_id=completion_id, now=self._clock()),
            )
        except ValueError:
            return None


def _miss(lookup: Lookup) -> CacheStatus:
    """Say why the upstream is asked. Raises NotCached if it must not be."""
    control = lookup.control
    if control.only_if_cached:
        raise NotCached(NOT_CACHED)
    forward: Forward = "stale" if lookup.is_stale else "miss"
    return CacheStatus.miss(
        lookup.key.digest,
        forward="request" if control.no_cache else forward,
        detail=lookup.failure,
    )


async def _give(flight: Flight, hit: Hit, answer: Replay) -> None:
    flight.begin(answer.head)
    flight.settle(Whole(hit.stored.completion, hit.stored.fullness))
    await flight.write(answer.body)
