"""Compares the answers of some served hits with the upstream's answers, in the background.

An audit sends the client's request to the upstream again, with the operator's key. No client waits
for an audit. If an audit fails, the failure is only counted. If hits by meaning are wrong too
often, `rules/auditing.py` raises the level of caution.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, replace

from app.core.cache_status import CacheStatus, Head, Tier
from app.core.defects import log_defect
from app.core.errors import RepriseError
from app.core.inflight import Hold
from app.core.models import ClientRequest
from app.core.shares import wilson
from app.dialects.dialect import Answer
from app.engine.comparisons import Compared, compared
from app.engine.context import Context
from app.engine.flights import see_out
from app.engine.forwarder import Forwarder, outgoing
from app.engine.pairs import Pair, Pairs
from app.engine.recorder import Recorder
from app.engine.savings import Savings
from app.matching.comparison import Agreement
from app.rules.auditing import Evidence, band_of
from app.rules.caution import EXACT_ONLY, Caution
from app.rules.decisions import Serve
from app.rules.headers import CREDENTIALS
from app.rules.plan import Found, Plan

_PATIENCE = 120.0  # time limit of the upstream in seconds

_logger = logging.getLogger("reprise.audit")


def audited_sum(tier: Tier, band: str, agreement: Agreement) -> str:
    """Return the name under which a Tally counts the audits with this result."""
    return f"audited.{tier.value}.{band}.{agreement.value}"


def compared_sum(tier: Tier, agreement: Agreement) -> str:
    """Return the name under which a Tally counts the comparisons with this result."""
    return f"compared.{tier.value}.{agreement.value}"


@dataclass(frozen=True, slots=True)
class AuditTerms:
    """The settings that decide which hits are audited, and how many.

    `rate`: the share of hits to audit, from 0 to 1.
    `at_once`: how many audits may run at the same time.
    `a_second`: how many audits may start in one second.
    `dial`: the share of hits by meaning that may be wrong.
    `least`: the least probability that the verifier must give at this dial; None if there is no
    verifier.
    `may_ask`: a function that returns whether an audit may send a request with the operator's key.
    `draw`: a function that returns a random number from 0 to 1.
    """

    rate: float = 0.0
    dial: float = 0.01
    least: float | None = None
    may_ask: Callable[[ClientRequest], bool] = lambda _: True
    draw: Callable[[], float] = random.random
    at_once: int = 4
    a_second: int = 5


@dataclass(frozen=True, slots=True)
class _Case:
    """A hit whose stored answer is compared with the upstream's answer.

    `is_served`: whether the client got the stored answer. If False, the hit was held back:
    the client got the upstream's answer instead.
    """

    plan: Plan
    decision: Serve
    asked_at: float
    is_served: bool

    def pair(self, found: Compared) -> Pair:
        stored = self.decision.stored
        return Pair(
            distance=self.decision.status.distance or 0.0,
            probability=self.decision.probability,
            entry=stored.id,
            asked_at=self.asked_at,
            ends_at=stored.stored_at + stored.lifetime,
            is_served=self.is_served,
            asked=self.plan.key.text or "",
            stored=stored.key.text or "",
            answer=found.stored,
            upstreams_answer=found.answer,
        )


class Audits:
    """Picks served hits at random, audits them, and keeps this process's results."""

    def __init__(
        self,
        forwarder: Forwarder,
        pairs: Pairs,
        savings: Savings,
        context: Context,
        terms: AuditTerms,
    ) -> None:
        self.terms = terms
        self._forwarder = forwarder
        self._pairs = pairs
        self._metrics = context.metrics
        self._clock = context.clock
        self._inflight = context.inflight
        self._max_distance = context.limits.max_distance
        self._savings = savings
        self._evidence = Evidence()
        self._counts = {tier: {True: 0, False: 0} for tier in Tier}
        self._begun = deque[float](maxlen=max(1, terms.a_second))
        self._under_way = set[asyncio.Task[None]]()

    @property
    def caution(self) -> Caution:
        """The limits that now apply to hits by meaning. They depend on the results so far."""
        return self._caution(self._evidence.level)

    def begin(self, plan: Plan, served: Serve) -> None:
        """Start to audit a served hit if it is picked at random, and return at once.

        Three kinds of hits are never audited. The first are stale hits, because an audit of them
        would prove nothing. The second are hits of requests with `only-if-cached`, which must not
        be sent to the upstream. The third are hits of requests whose answers the upstream stores.
        If such a request were sent again, the upstream would store a second answer.
        """
        terms = self.terms
        if not terms.rate or terms.draw() >= terms.rate or served.is_stale:
            return
        if plan.control.only_if_cached or served.stored.upstream_id:
            return
        if not terms.may_ask(plan.request):
            return
        now = asyncio.get_running_loop().time()
        is_full = len(self._begun) == self._begun.maxlen and now - self._begun[0] < 1
        if is_full or len(self._under_way) >= terms.at_once:
            self._left_out("busy")
            return
        self._begun.append(now)
        task = asyncio.create_task(self._audit(plan, served))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _audit(self, plan: Plan, served: Serve) -> None:
        asked_at = self._clock()
        try:
            async with asyncio.timeout(_PATIENCE):
                answer = await self._ask(plan)
            if answer is not None:
                self._savings.note_audit(served.stored.model, answer.content)
            if answer is None or answer.unfit:
                self._left_out("unfit")
                return
            found = await compared(served.stored.content, answer.content)
        except (RepriseError, TimeoutError):
            self._left_out("upstream")
        except Exception as error:  # noqa: BLE001 - no caller awaits this task
            log_defect(error)
            self._left_out("defect")
        else:
            self._note(_Case(plan, served, asked_at, is_served=True), found)

    async def _ask(self, plan: Plan) -> Answer | None:
        """Send a client's request to the upstream without the client's credentials.

        Return the upstream's answer, or None if the answer cannot be used for an audit.
        """
        request = outgoing(plan.request, identity=True)
        headers = [header for header in request.headers if header[0] not in CREDENTIALS]
        sent = replace(request, headers=headers)
        async with aclosing(await self._forwarder.send(sent)) as response:
            status = CacheStatus.miss(plan.key.digest)
            head = Head(response.status_code, response.headers, status)
            with Hold(self._inflight) as hold:
                recorder = Recorder(
                    head,
                    plan.limits,
                    lambda is_stream: plan.parsed.reader(is_stream=is_stream),
                    hold,
                )
                async for piece in response:
                    recorder.feed(piece)
                    if recorder.reason:
                        return None
                recorder.end()
                recorded = recorder.outcome()
        return recorded.answer if recorded and not recorder.reason else None

    def _note(self, case: _Case, found: Compared) -> None:
        """Count the result of an audit, and update the level of caution."""
        status = case.decision.status
        tier, agreement = status.tier or Tier.EXACT, found.agreement
        is_wrong = agreement is Agreement.WRONG
        band = band_of(status.distance)
        self._metrics.audited.labels(tier.value, band, agreement.value).inc()
        what = audited_sum(tier, band, agreement)
        self._metrics.tally.add(what, of=case.plan.tagging.namespace)
        self._tell_share(tier, is_wrong=is_wrong)
        self._show(case, found)
        self._conclude(self._evidence.audited(tier, self.terms.dial, is_wrong=is_wrong))

    def _show(self, case: _Case, found: Compared) -> None:
        """Keep a hit by meaning to show it to operators, unless its answer was found right.

        Wrong hits are kept in one list. Hits for which the comparison gave neither "right" nor
        "wrong" are kept in another list.
        """
        if case.decision.status.distance is None:
            return
        if found.agreement is Agreement.WRONG:
            self._pairs.note(case.pair(found), case.decision.epoch)
        elif found.agreement is Agreement.OPEN:
            self._pairs.note_open(case.pair(found), case.decision.epoch)

    def noting(self, plan: Plan, found: Found, kept_back: Serve) -> Callable[[Compared], None]:
        """Return a function that records the result of comparing a held-back hit.

        If the hit was held back only because of the level of caution, the result can lower the
        level.
        """
        tier, level = kept_back.status.tier or Tier.EXACT, self._evidence.level
        distance, probability = kept_back.status.distance, found.probability
        is_evidence = level > 0 and distance is not None and plan.mode.serves(tier)
        is_next = is_evidence and self._caution(level - 1).serves(distance or 0.0, probability)

        case = _Case(plan, kept_back, self._clock(), is_served=False)

        def note(found: Compared) -> None:
            agreement = found.agreement
            is_wrong = agreement is Agreement.WRONG
            self._metrics.compared.labels(tier.value, agreement.value).inc()
            self._metrics.tally.add(compared_sum(tier, agreement))
            self._show(case, found)
            if is_evidence and level == self._evidence.level:
                known, dial = self._evidence, self.terms.dial
                self._conclude(known.kept_back(dial, is_wrong=is_wrong, is_next=is_next))

        return note

    def _conclude(self, evidence: Evidence) -> None:
        before, self._evidence = self._evidence.level, evidence
        if (level := evidence.level) == before:
            return
        self._metrics.caution.set(level)
        told = {
            0: "as strict as the settings say",
            EXACT_ONLY: "off: only exact matches are served",
        }
        how = told.get(level, f"stricter than the settings, at level {level} of {EXACT_ONLY}")
        if level > before:
            _logger.error(
                "audits found more wrong hits by meaning than REPRISE_MAX_ERROR_RATE=%g allows; "
                "hits by meaning are now %s",
                self.terms.dial,
                how,
            )
        else:
            _logger.warning(
                "audits found enough hits by meaning right; hits by meaning are now %s", how
            )

    def _caution(self, level: int) -> Caution:
        return Caution(level, self._max_distance, self.terms.least)

    def _tell_share(self, tier: Tier, *, is_wrong: bool) -> None:
        counts = self._counts[tier]
        counts[is_wrong] += 1
        of = sum(counts.values())
        bounds = ("low", "high"), wilson(counts[True], of)
        self._metrics.audit_wrong.labels(tier.value, "value").set(counts[True] / of)
        for name, bound in zip(*bounds, strict=True):
            self._metrics.audit_wrong.labels(tier.value, name).set(bound)

    def _left_out(self, reason: str) -> None:
        self._metrics.not_audited.labels(reason).inc()

    async def aclose(self) -> None:
        """Wait for running audits, and cancel those that take longer than five seconds."""
        await see_out(list(self._under_way))
