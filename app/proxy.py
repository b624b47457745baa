"""The path of a request, from what the client sent to what will answer it."""

import random
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

from app import policy, rendering
from app.cache import Hit, Lookup, SemanticCache
from app.errors import NotCached, NotUnderstood
from app.fleet import Lead
from app.forwarding import NOT_CACHED, Forwarder, Forwarding, outgoing
from app.headers import cache_control, credentials
from app.joining import Joined
from app.key import KeyRules, build_key
from app.metrics import Metrics
from app.models import CacheStatus, ClientRequest, Clock, Head, Replay, StoredResponse
from app.openai import ChatRequest
from app.policy import Limits
from app.recording import ChatRecording, Storable
from app.relaying import relay
from app.singleflight import Flight, Reader, SingleFlight
from app.threads import by_size
from app.turns import Turn, Turns

Answer = Replay | Reader | Joined | Forwarding


@dataclass(frozen=True, slots=True)
class Rules:
    """What a deployment decides about requests."""

    keys: KeyRules
    limits: Limits


@dataclass(frozen=True, slots=True)
class _Question:
    """A request that may use the cache, and how far its look-up has come."""

    request: ClientRequest
    chat: ChatRequest
    lookup: Lookup


class Proxy:
    """Answers chat completion requests from the cache, or else from the upstream."""

    def __init__(
        self,
        cache: SemanticCache,
        forwarder: Forwarder,
        rules: Rules,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._cache = cache
        self._forwarder = forwarder
        self._rules = rules
        self._metrics = metrics
        self._clock = clock
        self._flights = SingleFlight(rules.limits.max_bytes, finish=rules.limits.finish_abandoned)
        self._turns = Turns()

    async def handle(self, request: ClientRequest, body: bytes) -> Answer:
        """Choose what answers a request: a stored response, a flight, or the upstream alone.

        1. A body that we cannot interpret, or that must not be cached, goes on as it came.
        2. The very same question is answered from the store.
        3. Otherwise the request joins the flight of its question, or starts it.
        """
        control = cache_control(request.headers)
        try:
            chat = await by_size(len(body), partial(ChatRequest.parse, body))
        except NotUnderstood as unknown:
            return self._forwarder.bypass(request, unknown.detail)
        if reason := policy.bypass_reason(chat, control, self._rules.limits):
            return self._forwarder.bypass(request, reason)

        key = await by_size(len(body), partial(build_key, request, chat, self._rules.keys))
        lookup = self._cache.lookup(key, control, credentials(request.headers))
        question = _Question(request, chat, lookup)
        fill = partial(self._fill, question)
        if control.no_cache:
            return self._flights.alone(fill)

        if answer := await self._replay(question, await self._cache.exact(lookup)):
            return answer
        flight = (key.digest, control, self._cache.epoch)
        reader = self._flights.join(flight, fill, chat.form)
        if reader.collapsed:
            self._metrics.collapsed.inc()
        if reader.form == chat.form:
            return reader
        again = partial(self._flights.join, (*flight, chat.form), fill, chat.form)
        return Joined(reader, chat.form, partial(self._render, chat), again)

    async def _fill(self, question: _Question, flight: Flight) -> None:
        """Fetch the answer of a flight: from the store by meaning, or from the upstream."""
        lookup = question.lookup
        if lookup.control.no_cache:
            await self._cache.embed(lookup)
        elif (hit := await self._find(lookup)) and (answer := await self._replay(question, hit)):
            await _give(flight, hit, answer)
            return
        if lookup.control.only_if_cached:
            raise NotCached(NOT_CACHED)
        if lookup.control.no_cache or lookup.failure:
            await self._forward(question, flight, Lead())
            return
        look = partial(self._look, question)
        written = partial(self._cache.written, lookup.key)
        async with self._forwarder.fleet.lead(lookup.key.digest, look, written) as lead:
            if lead.found:
                await _give(flight, *lead.found)
            else:
                await self._forward(question, flight, lead)

    async def _look(self, question: _Question) -> tuple[Hit, Replay] | None:
        """Look whether another proxy has stored the answer meanwhile."""
        known = question.lookup
        lookup = self._cache.lookup(known.key, known.control, known.credentials)
        hit = await self._cache.exact(lookup)
        answer = await self._replay(question, hit)
        return (hit, answer) if hit and answer else None

    async def _find(self, lookup: Lookup) -> Hit | None:
        """Look again for the same question, then for one that means the same.

        Why again: a flight collapses only requests that overlap with it.

            1. A looks up, finds nothing.         2. B looks up the same, finds nothing.
            3. A starts the flight, the upstream answers, the answer is stored, the flight ends.
            4. B, whose look-up took longer to come back, finds no flight to join, starts one.

        Without a second look, B asks the upstream for what has just been stored.
        """
        return await self._cache.exact(lookup) or await self._cache.semantic(lookup)

    async def _forward(
        self, question: _Question, flight: Flight, lead: Lead[tuple[Hit, Replay]]
    ) -> None:
        """Pass the upstream's answer on as it arrives, and keep a copy that may be stored."""
        lookup = question.lookup
        status = CacheStatus.miss(
            lookup.key.digest,
            forward="request" if lookup.control.no_cache else "miss",
            detail=lookup.failure,
        )
        request = outgoing(question.request, identity=True)
        epoch = self._cache.epoch  # of now: a purge while the answer is on its way defeats it
        with self._turns.take([lookup.key.digest]) as turn:
            async with aclosing(await self._forwarder.send(request)) as response:
                head = Head(response.status_code, response.headers, status)
                recording = ChatRecording(question.chat, head, self._rules.limits)
                keep = partial(self._keep, question, epoch, turn)
                await relay(flight, lead.watch(response), head, recording, keep)
        if recording.reason:
            self._metrics.not_stored.labels(recording.reason).inc()

    def _keep(self, question: _Question, epoch: str, turn: Turn, answer: Storable) -> None:
        if not turn.may_keep(question.lookup.key.digest):
            return
        stored = StoredResponse(
            key=question.lookup.key,
            model=question.chat.model,
            completion=answer.completion,
            stored_at=self._clock(),
            freshness_lifetime=answer.freshness_lifetime,
            epoch=epoch,
        )
        self._cache.store(stored, None if answer.exact_only else question.lookup.embedding)

    async def _replay(self, question: _Question, hit: Hit | None) -> Replay | None:
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
        render = partial(rendering.replay, completion, chat, status)
        try:
            return await by_size(
                len(completion),
                partial(render, completion_id=completion_id, now=self._clock()),
            )
        except ValueError:
            return None


async def _give(flight: Flight, hit: Hit, answer: Replay) -> None:
    flight.begin(answer.head)
    flight.settle(hit.stored.completion)
    await flight.write(answer.body)
