"""Reports the results of shadow mode or of served traffic, and suggests a dial."""

from collections.abc import Mapping
from dataclasses import asdict

from app.core.cache_status import Tier
from app.core.shares import Difference, excess
from app.dialects.strict_json import JsonObject
from app.engine.audits import AuditTerms
from app.engine.findings import Findings, unsaved, wrong_by_tier
from app.engine.pairs import Pairs
from app.rules.auditing import suggested_dial
from app.rules.plan import Policy

_ENOUGH = 50  # compared answers in each tier; with fewer, no dial is suggested


class Report:
    """Makes a report. Operators read it before they turn the cache on or change the dial."""

    def __init__(self, findings: Findings, pairs: Pairs, policy: Policy, terms: AuditTerms) -> None:
        self._findings = findings
        self._pairs = pairs
        self._policy = policy
        self._terms = terms

    async def document(self) -> JsonObject:
        """Return the report as a JSON object."""
        found = await self._findings.sums()
        totals = found.amounts
        return {
            "mode": self._policy.mode.value,
            **self._findings.told(found),
            "requests": outcomes(totals, "requests"),
            "would_be": {**outcomes(totals, "shadow"), "unsaved": unsaved(totals)},
            "dial": self._dial(totals),
            "pairs": [asdict(pair) for pair in self._pairs.all()],
        }

    def in_force(self) -> JsonObject:
        """Return the settings that decide which answers are served.

        They include the mode, the dial, some limits and the operator's rules. `min_probability` is
        None if there is no verifier.
        """
        limits = self._policy.limits
        return {
            "mode": self._policy.mode.value,
            "isolation": self._policy.keys.isolation.value,
            "max_error_rate": self._terms.dial,
            "min_probability": self._terms.least,
            "max_distance": limits.max_distance,
            "ttl": limits.ttl,
            "rules": [asdict(rule) for rule in self._policy.rules],
        }

    def _dial(self, totals: Mapping[str, int]) -> JsonObject:
        """Return a setting's name, its present value, a suggested value and the reason.

        The setting is the dial. If there is no verifier, the setting is the greatest distance of
        a hit. If no value can be suggested, the suggested value is None.
        """
        found, is_enough = _evidence(totals)
        dial = self._terms.dial
        name, present = "REPRISE_MAX_ERROR_RATE", dial
        if self._terms.least is None:
            name, present = "REPRISE_MAX_DISTANCE", self._policy.limits.max_distance
        told: JsonObject = {"setting": name, "present": present, "suggested": None}
        if found is None or not is_enough:
            return told | {"why": f"in each tier, at least {_ENOUGH} answers must be compared"}
        shown = f"{100 * found.low:.1f} to {100 * found.high:.1f} %"
        if found.low <= dial:
            why = f"{shown} of the hits by meaning are wrong; up to {100 * dial:g} % may be"
            return told | {"suggested": present, "why": why}
        stricter = suggested_dial(dial, found.low, found.high)
        if self._terms.least is None:
            stricter = present / 2
        why = f"{shown} of the hits by meaning are wrong; only {100 * dial:g} % may be"
        return told | {"suggested": stricter, "why": why}


def outcomes(totals: Mapping[str, int], what: str) -> JsonObject:
    """Return the number of hits in each tier, and the number of other requests by outcome.

    `what` is the first word in the names of the sums to use, such as "requests" or "shadow".
    """
    told = {"exact": 0, "semantic": 0, "stale": 0, "miss": 0}
    for name, count in totals.items():
        kind, _, rest = name.partition(":")[0].partition(".")
        if kind != what:
            continue
        outcome, _, tier = rest.partition(".")
        shown = tier if outcome == "HIT" else outcome.lower()
        told[shown] = told.get(shown, 0) + count
    return told


def _evidence(totals: Mapping[str, int]) -> tuple[Difference | None, bool]:
    """Return a difference, and whether enough hits were compared in each tier.

    The difference is the share of wrong hits among hits by meaning, minus the share of wrong hits
    among exact hits. The difference is None if it is unknown.
    """
    found = wrong_by_tier(totals)
    is_enough = min(of for _, of in found.values()) >= _ENOUGH
    return excess(*found[Tier.SEMANTIC], *found[Tier.EXACT]), is_enough
