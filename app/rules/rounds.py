"""Which candidates may answer a request, and in which order they are judged."""

from collections.abc import Sequence

from app.core.models import Candidate
from app.rules import freshness
from app.rules.decisions import is_for
from app.rules.limits import nearest_within
from app.rules.plan import Plan
from app.rules.sharing import answers_by_meaning


def rounds(plan: Plan, candidates: Sequence[Candidate], now: float) -> list[list[Candidate]]:
    """Return the candidates that may answer: a list of fresh ones, then a list of stale ones.

    Each list is sorted by distance, nearest first. Empty lists are left out. A stale candidate
    answers only if no fresh candidate can, even if the stale one is nearer.
    """
    fresh, stale = list[Candidate](), list[Candidate]()
    for candidate in _reworded(plan, candidates):
        if freshness.may_answer(candidate.stored, plan.control, now):
            fresh.append(candidate)
        elif freshness.may_answer_stale(candidate.stored, plan.control, plan.limits, now):
            stale.append(candidate)
    near = (nearest_within(part, plan.max_distance) for part in (fresh, stale))
    return [part for part in near if part]


def standing_in(plan: Plan, candidates: Sequence[Candidate], now: float) -> list[list[Candidate]]:
    """Return the candidates that may answer because the upstream failed.

    The result contains one list, nearest first. If no candidate may answer, the result is empty.
    """
    usable = [
        candidate
        for candidate in _reworded(plan, candidates)
        if freshness.may_stand_in(candidate.stored, plan.control, plan.limits, now)
    ]
    near = nearest_within(usable, plan.max_distance)
    return [near] if near else []


def _reworded(plan: Plan, candidates: Sequence[Candidate]) -> list[Candidate]:
    return [
        c
        for c in candidates
        if is_for(plan, c.stored)
        and not c.stored.is_disputed
        and answers_by_meaning(c.stored, plan.asker, plan.limits.share_after)
    ]
