"""Reports the results of comparisons and audits, and the savings of hits, as JSON values."""

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

from app.core.cache_status import Tier
from app.core.money import A_DOLLAR, MILLIONTHS, dollars
from app.core.shares import Difference, excess, wilson
from app.core.tally import sums
from app.dialects.strict_json import JsonObject
from app.engine.audits import Audits, compared_sum
from app.engine.ledger import Ledger, Sums
from app.matching.comparison import Agreement

_AUDITED = "audited"
_DIGITS = 4
_KINDS = ("hits", "priced", "input", "output", "nanodollars", "milliseconds")


class Findings:
    """Reports the results of all processes that share the store, or of this process alone."""

    def __init__(self, ledger: Ledger, audits: Audits) -> None:
        self._ledger = ledger
        self._audits = audits

    async def sums(self) -> Sums:
        """Return the sums of all processes that share the store.

        If the store is unavailable, return the sums of this process.
        """
        return await self._ledger.sums()

    async def document(self) -> JsonObject:
        """Return all results so far as JSON values."""
        return self.told(await self.sums())

    def told(self, found: Sums) -> JsonObject:
        """Compute the results from the sums `found`, and return them as JSON values."""
        terms, level = self._audits.terms, self._audits.caution.level
        return {
            "kept_in": found.kept_in,
            "compared": compared(found.amounts),
            "audit": {"rate": terms.rate, "caution": level, **audited(found.amounts)},
            "savings": saved(found.amounts),
        }


def compared(totals: Mapping[str, int]) -> JsonObject:
    """Return the results of comparing stored answers that were held back.

    `totals`: sums by name (see the class `Tally`).

    For each tier, `right` and `wrong` are the numbers of answers found right and wrong, and `open`
    is the number of answers for which the comparison could not decide.

    Even two answers of the upstream to the same request may differ, so some exact matches are found
    wrong, too. The share of wrong exact matches is called the base rate. `excess_wrong` is the
    share of wrong hits by meaning, minus the part that the base rate explains. It is None
    if the compared answers are not sufficient to compute it.
    """
    shown = {
        tier.value: {a.value: _compared_as(totals, tier, a) for a in Agreement} for tier in Tier
    }
    counts = _compared_by_tier(totals)
    semantic, control = counts.of(Tier.SEMANTIC.value), counts.of(Tier.EXACT.value)
    return shown | {"excess_wrong": _rounded(excess(*semantic, *control))}


def _compared_as(totals: Mapping[str, int], tier: Tier, agreement: Agreement) -> int:
    return sum(sums(totals, compared_sum(tier, agreement)).values())


def _compared_by_tier(totals: Mapping[str, int]) -> "_Counts":
    counts = _Counts()
    for tier, agreement in itertools.product(Tier, Agreement):
        counts.add(tier.value, agreement, _compared_as(totals, tier, agreement))
    return counts


def audited(totals: Mapping[str, int]) -> JsonObject:
    """Return the share of audited hits that were found wrong, by tier, distance and namespace.

    `totals`: sums by name (see the class `Tally`). `excess_wrong` has the same meaning as in the
    function `compared`.
    """
    by_tier, by_distance = _Counts(), _Counts()
    by_namespace: dict[str, _Counts] = {}
    for audit in _audits_in(totals):
        agreement, count = audit.agreement, audit.count
        by_tier.add(audit.tier, agreement, count)
        by_namespace.setdefault(audit.namespace, _Counts()).add(audit.tier, agreement, count)
        if audit.band:
            by_distance.add(audit.band, agreement, count)
    semantic, control = by_tier.of(Tier.SEMANTIC.value), by_tier.of(Tier.EXACT.value)
    return {
        **{tier.value: by_tier.share(tier.value) for tier in Tier},
        "by_distance": {b: by_distance.share(b) for b in sorted(by_distance.names, key=float)},
        "by_namespace": {
            namespace: {tier.value: counts.share(tier.value) for tier in Tier}
            for namespace, counts in sorted(by_namespace.items())
        },
        "excess_wrong": _rounded(excess(*semantic, *control)),
    }


def wrong_by_tier(totals: Mapping[str, int]) -> Mapping[Tier, tuple[int, int]]:
    """Return for each tier the number of hits found wrong, and the number of hits compared.

    Both numbers include hits that were audited and hits that were held back.
    """
    counts = _compared_by_tier(totals)
    for audit in _audits_in(totals):
        counts.add(audit.tier, audit.agreement, audit.count)
    return {tier: counts.of(tier.value) for tier in Tier}


@dataclass(frozen=True, slots=True)
class _Audit:
    """The number (`count`) of audits with the same tier, band, agreement and namespace.

    `band` names a range of cosine distances. It is empty for exact matches.
    """

    tier: str
    band: str
    agreement: str
    namespace: str
    count: int


def _audits_in(totals: Mapping[str, int]) -> Iterator[_Audit]:
    for name, count in totals.items():
        what, _, namespace = name.partition(":")
        kind, _, rest = what.partition(".")
        if kind == _AUDITED:
            tier, _, rest = rest.partition(".")
            band, _, agreement = rest.rpartition(".")
            yield _Audit(tier, band, agreement, namespace, count)


def saved(totals: Mapping[str, int]) -> JsonObject:
    """Return the savings of hits, in total and by model, and the costs of embedding and audits.

    `net_usd` is the total savings minus the costs, in dollars. `usd` includes only hits with a
    known price. `unpriced_hits` is the number of hits without a known price.
    """
    by_kind = {kind: sums(totals, f"saved.{kind}") for kind in _KINDS}
    models = {
        model: _saved({kind: by_kind[kind].get(model, 0) for kind in _KINDS})
        for model in sorted(by_kind["hits"])
    }
    whole = _whole(totals, "saved")
    spent = {purpose: _spent(totals, purpose) for purpose in ("embedding", "audit")}
    cost = sum(s["usd"] for s in spent.values())
    net = round(whole["nanodollars"] / A_DOLLAR - cost, MILLIONTHS)
    return {**_saved(whole), "spent": spent, "net_usd": net, "models": models}


def unsaved(totals: Mapping[str, int]) -> JsonObject:
    """Return the total savings that the held-back hits would have brought."""
    return _saved(_whole(totals, "unsaved"))


def _whole(totals: Mapping[str, int], what: str) -> dict[str, int]:
    return {kind: sum(sums(totals, f"{what}.{kind}").values()) for kind in _KINDS}


def _saved(counts: Mapping[str, int]) -> JsonObject:
    return {
        "hits": counts["hits"],
        "unpriced_hits": counts["hits"] - counts["priced"],
        "input_tokens": counts["input"],
        "output_tokens": counts["output"],
        "usd": dollars(counts["nanodollars"]),
        "seconds": round(counts["milliseconds"] / 1000, 1),
    }


def _spent(totals: Mapping[str, int], purpose: str) -> JsonObject:
    calls, tokens, unpriced, price = (
        sum(sums(totals, f"spent.{purpose}.{kind}").values())
        for kind in ("calls", "tokens", "unpriced", "nanodollars")
    )
    return {"calls": calls, "unpriced": unpriced, "tokens": tokens, "usd": dollars(price)}


class _Counts:
    """Counts, for each name, the hits that were compared and the hits that were found wrong."""

    def __init__(self) -> None:
        self._wrong, self._of = Counter[str](), Counter[str]()

    def add(self, name: str, agreement: str, count: int) -> None:
        self._of[name] += count
        if agreement == Agreement.WRONG:
            self._wrong[name] += count

    @property
    def names(self) -> list[str]:
        return list(self._of)

    def of(self, name: str) -> tuple[int, int]:
        return self._wrong[name], self._of[name]

    def share(self, name: str) -> JsonObject:
        wrong, of = self.of(name)
        low, high = wilson(wrong, of)
        share = round(wrong / of, _DIGITS) if of else None
        bounds = {"low": round(low, _DIGITS), "high": round(high, _DIGITS)}
        return {"wrong": wrong, "of": of, "share": share, **bounds}


def _rounded(found: Difference | None) -> JsonObject | None:
    if found is None:
        return None
    return {name: round(value, _DIGITS) for name, value in asdict(found).items()}
