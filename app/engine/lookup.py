"""Looks up stored responses: by exact key first, then by meaning.

Each method that looks something up returns a new `Found` with all results so far. If a store or a
model fails, the method does not raise an exception; `Found.failure` names the failure.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from app.core.errors import DependencyUnavailable
from app.core.models import Candidate, Counts, Embedding
from app.engine.context import Context
from app.engine.doubts import Doubts
from app.engine.hits import HitCounts
from app.engine.matcher import Matcher
from app.engine.resilience import Budget, ResilientEmbedder
from app.engine.resilient_store import ResilientStore
from app.engine.wordings import Wordings
from app.rules import decisions
from app.rules.decisions import Serve, Store
from app.rules.plan import Found, Plan
from app.rules.rounds import rounds, standing_in

_LAST_ATTEMPTS = 3

Rounds = Callable[[Plan, Sequence[Candidate], float], list[list[Candidate]]]
"""A function that groups candidates into lists. Candidates that must not answer are left out.

The arguments are the plan, the candidates, and the present time in seconds since 1970. A list is
judged only if no candidate was chosen from the earlier lists.
"""


class Lookup:
    """Finds stored responses and stores new ones.

    `reach` is a cosine distance. It is needed only to explain decisions. Candidates up to this
    distance are returned, even if their distances are too large for a hit.
    """

    def __init__(
        self,
        store: ResilientStore,
        embedder: ResilientEmbedder,
        matcher: Matcher,
        context: Context,
        reach: float = 0.0,
    ) -> None:
        self._store = store
        self._embedder = embedder
        self.matcher = matcher
        self._limits = context.limits
        self._clock = context.clock
        self._reach = reach
        self.hits = HitCounts()
        self.wordings = Wordings(context.clock, lambda: store.epoch)
        self.doubts = Doubts(context.clock, lambda: store.epoch)

    @property
    def epoch(self) -> str:
        """The current epoch. Answers that were requested in another epoch are not stored."""
        return self._store.epoch

    def nothing(self) -> Found:
        """Return the empty `Found` with which the look-up of a request begins."""
        return Found(self._limits.store_timeout)

    async def exact(self, plan: Plan, found: Found) -> Found:
        """Look up the response stored under the plan's exact key, fresh or stale."""
        return await self._exact(plan, found, Budget(found.seconds_left))

    async def search(self, plan: Plan, found: Found) -> Found:
        """Look up a response by meaning. Fresh responses are preferred to stale ones."""
        return await self._search(plan, found, Budget(found.seconds_left), rounds)

    async def search_for_caller(self, plan: Plan, found: Found) -> Found:
        """Do the same as `search`, and keep a pair of questions for an operator to review.

        The first question is the plan's question. The second is the stored question that got the
        highest probability from the verifier. If the verifier judged no candidate, no pair is kept.
        """
        found = await self.search(plan, found)
        line = max(self.matcher.least or 0.0, plan.limits.min_probability)
        self.doubts.note(plan.text or "", found.verdicts, line, found.epoch)
        return found

    async def stand_in(self, plan: Plan, known: Found) -> Found:
        """Look up a response to serve because the upstream failed.

        The look-up is by exact key first, and after that by meaning. The store is asked even if its
        circuit breaker is open. If the store fails, it is asked again, at most three times in
        total, because nothing else can answer.
        """
        found = known
        for _ in range(_LAST_ATTEMPTS):
            budget = Budget(self._limits.store_timeout, is_last=True)
            found = replace(self.nothing(), embedding=known.embedding)
            found = await self._exact(plan, found, budget)
            if decisions.in_place_of_failure(plan, found, self._clock()) is None:
                found = await self._search(plan, found, budget, standing_in)
            if found.failure != "store-unavailable":
                break
        return found

    async def embed(self, plan: Plan, found: Found) -> Found:
        """Return `found` with the embedding of the plan's text.

        `found` is returned unchanged if the plan has no text, if `found` already has the embedding,
        or if an earlier step of the look-up has failed.
        """
        if plan.text is None or found.failure or found.embedding is not None:
            return found
        try:
            embedding = await self._embedder.embed(
                plan.key.partition,
                plan.text,
                Budget(self._limits.embedder_timeout),
                plan.credentials,
            )
        except DependencyUnavailable as unavailable:
            return replace(found, failure=unavailable.detail)
        return replace(found, embedding=embedding)

    def store(self, decision: Store) -> None:
        """Start to store a response and return at once."""
        self._store.put(decision.stored, decision.embedding)

    def note_served(self, plan: Plan, decision: Serve) -> None:
        """Record that an entry has answered a request.

        The hit is counted. For a hit by meaning, the wording of the question is kept. For an exact
        hit, the digest of the caller's credentials (`plan.asker`) is added to the entry, if the
        plan has one.
        """
        stored, distance = decision.stored, decision.status.distance
        self.hits.note(stored, distance)
        if distance is not None:
            self.wordings.note(plan.text or "", decision)
        self._store.use(stored)
        if plan.asker and distance is None:
            self._store.count_asker(stored, plan.asker, self._limits.share_after)

    async def written(self, plan: Plan) -> None:
        """Wait until the running writes to a plan's keys have ended, successfully or not."""
        await self._store.written(plan.key.digest)
        if plan.open_key:
            await self._store.written(plan.open_key.digest)

    async def _exact(self, plan: Plan, found: Found, budget: Budget) -> Found:
        if found.failure:
            return found
        try:
            stored = await self._store.get(plan.key, budget)
            if stored is None and plan.open_key:
                opened = await self._store.get(plan.open_key, budget)
                stored = opened if opened and decisions.is_open(opened) else None
        except DependencyUnavailable as unavailable:
            return replace(found, failure=unavailable.detail, seconds_left=budget.seconds)
        # Read now: if a purge comes during the search, no text of it is kept for operators.
        return replace(found, exact=stored, seconds_left=budget.seconds, epoch=self.epoch)

    async def _search(self, plan: Plan, found: Found, budget: Budget, in_rounds: Rounds) -> Found:
        found = await self.embed(plan, found)
        if found.embedding is None or found.failure:
            return found
        reach = max(plan.max_distance, self._reach)
        try:
            candidates = await self._nearest(plan, found.embedding, reach, budget)
            found = replace(found, candidates=candidates, seconds_left=budget.seconds)
            for near in in_rounds(plan, candidates, self._clock()):
                choice = await self.matcher.choose(
                    plan.text or "", near, plan.limits.min_probability
                )
                found = replace(
                    found, verdicts=(*found.verdicts, *choice.verdicts), chosen=choice.chosen
                )
                if choice.chosen:
                    break
        except DependencyUnavailable as unavailable:
            return replace(found, failure=unavailable.detail, seconds_left=budget.seconds)
        return found

    async def _nearest(
        self, plan: Plan, embedding: Embedding, reach: float, budget: Budget
    ) -> Sequence[Candidate]:
        own = await self._store.nearest(plan.key, embedding, reach, budget)
        if not plan.open_key:
            return own
        opened = await self._store.nearest(plan.open_key, embedding, reach, budget)
        opened = [candidate for candidate in opened if decisions.is_open(candidate.stored)]
        return sorted([*own, *opened], key=lambda candidate: candidate.distance)

    @property
    def embedder(self) -> dict[str, str | int]:
        """The embedding model: its `name`, and the number of `dimensions` of its vectors."""
        return {"name": self._embedder.name, "dimensions": self._embedder.dimensions}

    async def refresh_epoch(self) -> None:
        """Read the store's epoch, so that texts purged by other processes are no longer shown.

        If the store is unavailable, the epoch that this process read last remains valid.
        """
        with suppress(DependencyUnavailable):
            await self._store.refresh_epoch(Budget(self._limits.store_timeout))

    async def count(self) -> Counts | None:
        """Return how many answers and embeddings are stored; None if the store is unavailable."""
        try:
            return await self._store.count(Budget(self._limits.store_timeout))
        except DependencyUnavailable:
            return None

    async def facts(self) -> Mapping[str, object] | None:
        """Return facts about the store for an operator; None if the store is unavailable."""
        try:
            return await self._store.facts(Budget(self._limits.store_timeout))
        except DependencyUnavailable:
            return None

    async def degraded(self) -> list[str]:
        """Return the names of the parts that are down: `store`, `embedder`, `verifier`."""
        is_silent = await self.count() is None
        down = {
            "store": is_silent or self._store.is_down,
            "embedder": self._embedder.is_down,
            "verifier": self.matcher.is_down,
        }
        return [name for name, is_down in down.items() if is_down]

    async def aclose(self) -> None:
        """Wait for the running writes, then close the store, the embedder and the verifier."""
        await self._store.aclose()
        await self._embedder.aclose()
        await self.matcher.aclose()
