"""Fetches a missing answer only once for several requests, stores it, and renews stale answers.

Within one proxy, a request joins the revalidation of its answer if one is running. In a fleet,
there is a lease for each answer. The proxy that holds the lease asks the upstream. The other
proxies wait until the answer is stored.
"""

from collections.abc import Hashable
from dataclasses import replace

from app.core.cache_status import CacheStatus, DiscardReason
from app.core.offload import by_size
from app.dialects.dialect import Answer
from app.engine.audits import Audits
from app.engine.comparisons import Comparisons
from app.engine.context import Context
from app.engine.fetcher import Fetcher, Wanted, Watch, watch_nothing
from app.engine.fleet import Fleet
from app.engine.flights import Flight
from app.engine.revalidation import Revalidations, follow
from app.engine.serving import Served, Serving
from app.engine.write_order import WriteTicket
from app.rules import decisions
from app.rules.decisions import Discard, Fetch, Recorded, Serve
from app.rules.key import callers_of
from app.rules.key_parts import key_parts, parts_text
from app.rules.plan import Found, Plan

_MOST_LOOKS = 3


class SharedFetch:
    """Fetches an answer only once for the whole fleet, stores it, and renews stale answers."""

    def __init__(
        self, serving: Serving, fetcher: Fetcher, fleet: Fleet, audits: Audits, context: Context
    ) -> None:
        self.lookup = serving.lookup
        self.serving = serving
        self.audits = audits
        self._fetcher = fetcher
        self._fleet = fleet
        self._keys = context.policy.keys
        self._collapsed = context.metrics.collapsed
        self._clock = context.clock
        self._revalidations = Revalidations(
            context.limits.max_bytes, context.clock, context.inflight
        )
        self._comparisons = Comparisons()

    async def fetch_once(
        self, plan: Plan, found: Found, status: CacheStatus, flight: Flight
    ) -> None:
        """Fetch an answer for the readers of a flight.

        If the same answer is being fetched already, wait for it instead.
        """
        # In these cases the answer will not be stored, so no other proxy could find it.
        if plan.is_alone or found.failure or plan.limits.ttl <= 0:
            await self._fetch(plan, found, status, flight)
            return
        if reader := self._revalidations.join(*self._name(plan)):
            self._collapsed.inc()
            await follow(flight, reader)
            return
        latest = found

        async def look() -> Served | None:
            nonlocal latest
            latest = await self._look(plan, latest)
            decision = decisions.after_exact(plan, latest, self._clock())
            return await self.serve(plan, decision) if isinstance(decision, Serve) else None

        lease = plan.key.digest + ("-plain" if plan.is_plain else "") + plan.parsed.treatment
        async with self._fleet.lead(lease, look, lambda: self.lookup.written(plan)) as lead:
            if lead.found:
                await lead.found.give(flight)
            else:
                await self._fetch(plan, latest, status, flight, lead.watch)

    async def serve(self, plan: Plan, decision: Serve) -> Served | None:
        """Render a stored response; if the response is stale, start a revalidation (RFC 5861 §3).

        Return None if the stored response cannot be served.
        """
        stored, savings = decision.stored, self.serving.savings
        saved = savings.of(stored, decision.status)
        decision = replace(decision, status=replace(decision.status, saved=saved))
        served = await self.serving.serve(plan, decision)
        if served:
            savings.note(stored.model, saved)
            self.audits.begin(plan, decision)
        if served and decision.is_stale and not plan.control.only_if_cached and plan.limits.ttl > 0:
            self._revalidations.begin(
                *self._name(plan),
                lambda flight: self._renew(plan, flight),
                lambda: self._is_renewed(plan),
            )
        return served

    def _name(self, plan: Plan) -> tuple[Hashable, Hashable]:
        """Return the arguments `name` and `form` for `Revalidations.begin`."""
        kept_as = (plan.asked.ttl, plan.tagging.tags, plan.parsed.treatment)
        return (plan.key.digest, self.lookup.epoch), (plan.parsed.form, *kept_as)

    async def _renew(self, plan: Plan, flight: Flight) -> None:
        """Fetch a newer answer to replace a stale one.

        If the store has a fresh answer by now, send that answer to the readers of the flight.
        """
        found = await self._look(plan, self.lookup.nothing())
        if (decision := self._fresh(plan, found)) and (
            served := await self.serving.serve(plan, decision)
        ):
            await served.give(flight)
            return
        found = await self.lookup.embed(plan, found)
        match decisions.unanswered(plan, found, self._clock()):
            case Fetch(status):
                await self._fetch(plan, found, status, flight)

    async def _is_renewed(self, plan: Plan) -> bool:
        return self._fresh(plan, await self._look(plan, self.lookup.nothing())) is not None

    def _fresh(self, plan: Plan, found: Found) -> Serve | None:
        decision = decisions.after_exact(plan, found, self._clock())
        return decision if isinstance(decision, Serve) and not decision.is_stale else None

    async def _look(self, plan: Plan, found: Found) -> Found:
        """Look up the exact key again; return `found` with the new value of `exact`."""
        again = await self.lookup.exact(plan, self.lookup.nothing())
        return replace(found, exact=again.exact)

    async def _fetch(
        self,
        plan: Plan,
        found: Found,
        status: CacheStatus,
        flight: Flight,
        watch: Watch = watch_nothing,
    ) -> None:
        """Send the upstream's answer to the readers of a flight, and store a copy if allowed.

        `watch` yields the answer's body as it arrives. It may do more, such as renew a lease.
        """
        kept_back = decisions.kept_back(plan, found, self._clock())
        if kept_back:
            self.serving.savings.note_kept_back(kept_back.stored, kept_back.status)
        epoch = self.lookup.epoch  # read now, so that a later purge keeps the answer from the store

        async def keep(recorded: Recorded[Answer], ticket: WriteTicket) -> DiscardReason | None:
            if kept_back and not kept_back.is_stale and not recorded.answer.unfit:
                note = self.audits.noting(plan, found, kept_back)
                self._comparisons.begin(kept_back.stored.content, recorded.answer.content, note)
            return await self._keep(plan, found, recorded, epoch, ticket)

        opened = [plan.open_key.digest] if plan.open_key else []
        wanted = Wanted(
            plan.request,
            status,
            [plan.key.digest, *opened],
            plan.limits,
            lambda is_stream: plan.parsed.reader(is_stream=is_stream),
            keep,
            entry=lambda allow_origin: plan.kept_under(allow_origin).key.digest,
        )
        await self._fetcher.fetch(wanted, flight, watch)

    async def _keep(
        self,
        plan: Plan,
        found: Found,
        recorded: Recorded[Answer],
        epoch: str,
        ticket: WriteTicket,
    ) -> DiscardReason | None:
        """Store an answer if allowed. Return None, or the reason why it was not stored."""
        plan = plan.kept_under(recorded.allow_origin)
        digest, seen = plan.key.digest, 0
        for _ in range(_MOST_LOOKS):  # keep the tags of an answer that was stored meanwhile
            if (latest := ticket.latest_kept(digest)) == seen:
                break
            seen = latest
            found = await self._look(plan, found)
        if plan.asker and not seen:  # another proxy may have stored an answer by now
            found = await self._look(plan, found)
        decision = decisions.after_upstream(plan, found, recorded, epoch, self._clock())
        if isinstance(decision, Discard):
            return decision.reason
        parts = await by_size(plan.size, lambda: key_parts(plan.request, plan.parsed, self._keys))
        if not ticket.claim(digest):
            return "superseded"
        caller = callers_of(plan.request.headers, self._keys)
        stored = replace(decision.stored, parts=parts_text(parts), caller=caller)
        self.lookup.store(replace(decision, stored=stored))
        return None

    async def aclose(self) -> None:
        """Wait for running revalidations, comparisons and audits, for a limited time."""
        await self._revalidations.aclose()
        await self._comparisons.aclose()
        await self.audits.aclose()
