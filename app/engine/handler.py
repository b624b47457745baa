"""Turns the bytes of a client's request into an answer.

Embeddings requests are answered in `embeddings.py`.
"""

from dataclasses import replace

from app.core.cache_status import Replay
from app.core.defects import log_defect
from app.core.errors import NotCached
from app.core.models import ClientRequest
from app.core.offload import by_size
from app.core.recent import Recent
from app.dialects.dialect import Dialect
from app.engine.answers import PendingAnswer
from app.engine.context import Context
from app.engine.decoded import Decoded
from app.engine.embeddings import EmbeddingsAnswerer, EmbeddingsReply
from app.engine.flights import Flight, Flights
from app.engine.form_adapter import FormAdapter
from app.engine.forwarder import NOT_CACHED, Forwarder, Forwarding
from app.engine.joined import Joined
from app.engine.serving import Served
from app.engine.shared_fetch import SharedFetch
from app.engine.stale_if_error import StaleIfError
from app.rules import decisions
from app.rules.decisions import Bypass, Fetch, Refuse, Serve
from app.rules.must_be_new import wants_new
from app.rules.plan import EmbeddingsPlan, Found, Plan
from app.rules.time_bound import TimeBound, judge, year_of

_KEYS_KNOWN = 4096

Reply = Replay | Decoded | Joined | StaleIfError | Forwarding | EmbeddingsReply


class Handler:
    """Answers requests from the cache if possible, otherwise from the upstream."""

    def __init__(
        self,
        fetches: SharedFetch,
        embeddings: EmbeddingsAnswerer,
        forwarder: Forwarder,
        context: Context,
    ) -> None:
        limits = context.limits
        self._fetches = fetches
        self._lookup = fetches.lookup
        self._serving = fetches.serving
        self._embeddings = embeddings
        self._forwarder = forwarder
        self._policy = context.policy
        self._collapsed = context.metrics.collapsed
        self._clock = context.clock
        self._flights = Flights(
            limits.max_bytes, finish=limits.finish_abandoned, inflight=context.inflight
        )
        self._judged: Recent[tuple[str, int], tuple[bool, TimeBound]] = Recent(_KEYS_KNOWN)

    async def handle(self, dialect: Dialect, request: ClientRequest, body: bytes) -> Reply:
        """Return the answer to a request, from the store, from a flight or from the upstream.

        1. A request that Reprise cannot read, or that must not use the cache, is forwarded to the
           upstream.
        2. If the store has a suitable answer under the exact key, this answer is served.
        3. Otherwise the request joins the running flight of the exact key, or starts a flight. A
           new flight looks up an answer by meaning, then asks the upstream. If the upstream fails,
           a stale response may be served.

        Raises NotCached if the request has `only-if-cached` and no stored answer may be served.
        """
        plan = await self.admit(dialect, request, body)
        if isinstance(plan, Bypass):
            return self._forwarder.bypass(request, plan.reason)
        if isinstance(plan, EmbeddingsPlan):
            return await self._embeddings.answer(plan)
        found = self._lookup.nothing()
        if plan.is_alone:
            reader = self._flights.alone(lambda flight: self._fill(plan, found, flight))
            return Decoded(reader, request.headers)
        found = await self._lookup.exact(plan, found)
        match decisions.after_exact(plan, found, self._clock()):
            case Refuse():
                raise NotCached(NOT_CACHED)
            case Serve() as decision:
                if served := await self._fetches.serve(plan, decision):
                    return served.replay
        answer = self._join(plan, found)
        if plan.control.only_if_cached or not plan.limits.stale_lifetime:
            return answer
        waits = decisions.has_stale(plan, found, self._clock())
        return StaleIfError(answer, lambda failed: self._stand_in(plan, failed), waits=waits)

    async def admit(
        self, dialect: Dialect, request: ClientRequest, body: bytes
    ) -> Bypass | Plan | EmbeddingsPlan:
        """Return a plan if a request may use the cache. Otherwise, return a Bypass with the reason.

        A large body is parsed in a thread.
        """
        plan = await by_size(
            len(body), lambda: decisions.admit(dialect, request, body, self._policy)
        )
        if not isinstance(plan, Plan):
            return plan
        now = self._clock()
        is_to_be_new, bound = self._judge(plan, now)
        if is_to_be_new:
            return Bypass("must-be-new")
        if (caution := self._fetches.audits.caution).level:
            plan = replace(plan, caution=caution)
        return decisions.bound_to_time(plan, bound, now)

    def _judge(self, plan: Plan, now: float) -> tuple[bool, TimeBound]:
        """Return whether the answer must be new, and whether the answer depends on the time.

        Both results are cached under the exact key. Two callers have the same exact key only if
        they share answers. So response times tell a caller nothing about the questions of callers
        with whom the caller shares no answers.
        """
        name = (plan.key.digest, year_of(now))
        if (known := self._judged.get(name)) is None:
            known = wants_new(plan.parsed), judge(plan.parsed.question, year_of(now))
            self._judged.keep(name, known)
        return known

    def _join(self, plan: Plan, found: Found) -> Joined:
        """Return the answer of the running flight with the plan's key, or of a new flight.

        The form of the flight's answer may differ from the form that the plan's request asks for.
        A request that is entitled to `usage` only joins flights that ask the upstream for `usage`.
        """
        form = plan.parsed.form
        name = (
            *(plan.key.digest, self._lookup.epoch),
            *(plan.asked, plan.tagging.tags, plan.ends_at, plan.parsed.treatment),
        )

        async def fill(flight: Flight) -> None:
            await self._fill(plan, found, flight)

        fuller = [(*name, False)] if plan.is_plain else []
        reader = self._flights.join((*name, plan.is_plain), fill, form, fuller)
        if reader.collapsed:
            self._collapsed.inc()
        accepting = plan.request.headers
        answer: PendingAnswer = Decoded(reader, accepting)
        if reader.form != form:
            answer = FormAdapter(
                reader,
                plan.parsed,
                lambda whole, status: self._serving.render(plan, whole.content, status),
                lambda: Decoded(self._flights.join((*name, form), fill, form), accepting),
            )
        return Joined(answer, lambda: Decoded(self._flights.alone(fill), accepting))

    async def _fill(self, plan: Plan, found: Found, flight: Flight) -> None:
        """Fill a flight with an answer from the store, a running revalidation, or the upstream."""
        found, served = await self._find(plan, found)
        if served:
            await served.give(flight)
            return
        match decisions.unanswered(plan, found, self._clock()):
            case Refuse():
                raise NotCached(NOT_CACHED)
            case Fetch(status):
                await self._fetches.fetch_once(plan, found, status, flight)

    async def _find(self, plan: Plan, found: Found) -> tuple[Found, Served | None]:
        """Look up the exact key again, then look up by meaning.

        Return two values: `found` with the new results, and the stored response to serve. The
        second value is None if no stored response is served. An unexpected exception counts as a
        miss.

        If the caller wants a new answer, no stored response is served. In that case this method
        only computes the embedding of the text, and finds the entry that the new answer will
        replace. The new answer keeps the tags of this entry.

        The exact key is looked up a second time because a request can only join a flight that is
        still running. Suppose that two equal requests, 1 and 2, arrive together:

        - Both look up the exact key and find nothing. The look-up of request 2 takes longer.
        - Request 1 starts a flight, the upstream answers, the answer is stored, the flight ends.
        - The look-up of request 2 ends. Request 2 finds no flight to join and starts one.

        Without the second look-up, request 2 would ask the upstream for an answer that was just
        stored.
        """
        try:
            if plan.control.no_cache:
                found = await self._lookup.embed(plan, found)
                return await self._lookup.exact(plan, found), None
            found = await self._lookup.exact(plan, found)
            if not decisions.is_settled(plan, found, self._clock()):
                found = await self._lookup.search_for_caller(plan, found)
            decision = decisions.after_search(plan, found, self._clock())
            if isinstance(decision, Serve):
                return found, await self._fetches.serve(plan, decision)
        except Exception as error:  # noqa: BLE001 - the upstream can still answer
            log_defect(error)
            found = replace(found, failure="defect")
        return found, None

    async def _stand_in(self, plan: Plan, failed: int | None) -> Replay | None:
        """Return a stored response to serve because the upstream failed (RFC 5861 §4).

        `failed` is the upstream's failure status, or None if the upstream sent no response. Return
        None if no stored response may be served.
        """
        found = await self._lookup.stand_in(plan, self._lookup.nothing())
        decision = decisions.in_place_of_failure(plan, found, self._clock())
        served = await self._serving.serve(plan, decision) if decision else None
        return served.replay.instead_of(failed) if served else None

    async def aclose(self) -> None:
        """Wait for running flights, and cancel those that take longer than five seconds."""
        await self._flights.aclose()
