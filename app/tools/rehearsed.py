"""The results of replaying a log with several terms, and the settings that the results suggest."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from app.core.cache_status import Tier
from app.core.one_line import one_line
from app.core.shares import Difference, excess
from app.dialects.strict_json import JsonObject
from app.matching.comparison import Agreement
from app.settings import Settings
from app.tools.evaluate import Models
from app.tools.progress import Progress
from app.tools.rehearse import Outcome, Pair, Rehearsal, Terms
from app.tools.report import saved_text
from app.tools.saved import by_model, total
from app.tools.statistics import Row, Share, Table
from app.tools.traffic import Traffic

_DIALS = (0.01, 0.02, 0.05, 0.1)
_LIFETIMES = (3600.0, 86_400.0, 604_800.0)  # an hour, a day, a week
_ENOUGH = 30  # compared answers; with fewer, no dial is suggested
_MOST_OF_ALL = 0.95  # share of the longest lifetime's hits that a shorter one must reach
_SHOWN = 100  # characters of a text that are shown
_COLUMNS = (
    "dial",
    "ttl",
    "hit_rate",
    "exact",
    "semantic",
    "wrong_exact",
    "wrong_semantic",
    "excess_wrong",
    "usd",
)


@dataclass(frozen=True, slots=True)
class Advice:
    """A suggested value for a setting, and the reason. `value` is None if none can be suggested."""

    setting: str
    value: float | None
    why: str

    def __str__(self) -> str:
        told = "" if self.value is None else f"={self.value:g}"
        return f"{self.setting}{told}  {self.why}"


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """The results for a log. The first of `outcomes` is for the operator's own settings.

    `show` is the greatest number of wrong hits to list.
    """

    traffic: Traffic
    outcomes: Sequence[Outcome]
    show: int = 0

    @property
    def own(self) -> Outcome:
        """The outcome for the operator's own settings."""
        return self.outcomes[0]

    @property
    def advice(self) -> Sequence[Advice]:
        """The suggested dial and lifetime."""
        return [_dial(self.outcomes), _ttl(self.outcomes)]

    def document(self) -> JsonObject:
        """Return all figures as JSON values."""
        own = self.own
        excess = [_excess(outcome) for outcome in self.outcomes]
        rows = Table(_COLUMNS, [_row(outcome) for outcome in self.outcomes]).document()
        return {
            "file": self.traffic.file,
            "requests": own.requests,
            "unusable": dict(self.traffic.unusable),
            "bypassed": dict(own.bypassed),
            "rows": [
                {**row, "usd": total(outcome.saved).usd, "excess_wrong": told and asdict(told)}
                for row, outcome, told in zip(rows, self.outcomes, excess, strict=True)
            ],
            "saved": {
                **total(own.saved).document(),
                "models": {model: part.document() for model, part in own.saved.items()},
            },
            "advice": [asdict(advice) for advice in self.advice],
            "wrong": [self._pair(pair) for pair in self._telling()],
        }

    def __str__(self) -> str:
        own = self.own
        usable = _counted({"requests": own.requests, **self.traffic.unusable})
        lines = [f"{self.traffic.file}: {usable}"]
        if own.bypassed:
            lines.append(f"bypassed: {_counted(own.bypassed)}")
        lines += [str(Table(_COLUMNS, [_row(outcome) for outcome in self.outcomes])), ""]
        lines.append(f"saved: {saved_text(total(own.saved).document())}")
        if own.saved:
            lines += [by_model(own.saved), ""]
        lines += [f"suggested: {advice}" for advice in self.advice]
        for pair in self._telling():
            shown = self._pair(pair)
            lines += ["", f"{pair.tier.value} {pair.distance}".rstrip()]
            lines += [f"  {name:<9}{one_line(str(text), _SHOWN)}" for name, text in shown.items()]
        return "\n".join(lines)

    def _telling(self) -> Sequence[Pair]:
        """Return the hits by meaning whose answer contradicts the log's answer.

        Hits with the greatest distance come first. At most `show` hits are returned.
        """
        wrong = [p for p in self.own.pairs if p.agreement is Agreement.WRONG]
        far = sorted(wrong, key=lambda pair: float(pair.distance or 0.0), reverse=True)
        return [pair for pair in far if pair.tier is Tier.SEMANTIC][: self.show]

    def _pair(self, pair: Pair) -> JsonObject:
        asked, stored = (self.traffic.exchanges[at] for at in (pair.asked, pair.stored))
        return {
            "asked": asked.prompt,
            "stored": stored.prompt,
            "answered": asked.said,
            "served": stored.said,
        }


def rehearse(
    traffic: Traffic, settings: Settings, models: Models, progress: Progress, show: int = 0
) -> Rehearsed:
    """Replay a log with the operator's own terms and with other terms.

    `show` is the greatest number of wrong hits to list. Raises ConfigurationError.
    """
    rehearsal = Rehearsal(traffic, settings, models)
    is_verified = models.verifier is not None
    outcomes = [
        rehearsal.replay(terms, progress)
        for terms in terms_for(settings, traffic, is_verified=is_verified)
    ]
    return Rehearsed(traffic, outcomes, show)


def terms_for(settings: Settings, traffic: Traffic, *, is_verified: bool) -> Sequence[Terms]:
    """Return the operator's own terms, then terms with other dials, then with other lifetimes.

    If `is_verified` is false, there is no verifier, and no other dials are tried. Lifetimes that
    are too long for the log's duration are left out. If there is a policy file, dials below the
    operator's dial are left out, because the rules in the file may depend on the operator's dial.
    """
    own = Terms(settings.max_error_rate, settings.ttl)
    times = [exchange.at or 0.0 for exchange in traffic.exchanges]
    span = max(times) - min(times)
    dials = [d for d in _DIALS if not settings.policy or d > own.max_error_rate]
    steps = itertools.pairwise(_LIFETIMES)
    lifetimes = [_LIFETIMES[0], *(longer for shorter, longer in steps if span > shorter)]
    others = [Terms(dial, own.ttl) for dial in (dials if is_verified else [])]
    others += [Terms(own.max_error_rate, ttl) for ttl in lifetimes]
    return list(dict.fromkeys([own, *others]))


def _row(outcome: Outcome) -> Row:
    exact, semantic = (outcome.hits[tier] for tier in (Tier.EXACT, Tier.SEMANTIC))
    excess = _excess(outcome)
    told = None
    if excess:
        told = f"{_percent(excess.value)} [{_percent(excess.low)}, {_percent(excess.high)}]"
    return {
        "dial": outcome.terms.max_error_rate,
        "ttl": outcome.terms.ttl,
        "hit_rate": Share(exact + semantic, outcome.requests),
        "exact": Share(exact, outcome.requests),
        "semantic": Share(semantic, outcome.requests),
        "wrong_exact": _wrong(outcome, Tier.EXACT),
        "wrong_semantic": _wrong(outcome, Tier.SEMANTIC),
        "excess_wrong": told,
        "usd": f"{total(outcome.saved).usd:.4f}",
    }


def _wrong(outcome: Outcome, tier: Tier) -> Share:
    counts = outcome.counted(tier)
    return Share(counts[Agreement.WRONG], sum(counts.values()))


def _excess(outcome: Outcome) -> Difference | None:
    """Return the share of wrong hits by meaning, minus the share of wrong exact matches.

    Return None if there is too little to compare.
    """
    semantic, exact = (_wrong(outcome, tier) for tier in (Tier.SEMANTIC, Tier.EXACT))
    return excess(semantic.count, semantic.of, exact.count, exact.of)


def _dial(outcomes: Sequence[Outcome]) -> Advice:
    """Suggest the greatest dial that the share of wrong hits by meaning does not exceed.

    Even two answers of the upstream to the same request may differ. So the share of wrong hits
    among hits by meaning is reduced by the share of wrong hits among exact matches. If there were
    no exact matches, the share is not reduced.
    """
    setting, ttl = "REPRISE_MAX_ERROR_RATE", outcomes[0].terms.ttl
    on_own = [outcome for outcome in outcomes if outcome.terms.ttl == ttl]
    enough = [o for o in on_own if _wrong(o, Tier.SEMANTIC).of >= _ENOUGH]
    if not enough:
        most = max(_wrong(outcome, Tier.SEMANTIC).of for outcome in on_own)
        why = f"only {most} hits by meaning could be compared; at least {_ENOUGH} are needed"
        return Advice(setting, None, why)
    kept = [o for o in enough if _found_wrong(o) <= o.terms.max_error_rate]
    if not kept:
        why = "every dial had more wrong hits than it allows; examine them with --show 20"
        return Advice(setting, None, why)
    best = max(kept, key=lambda outcome: outcome.terms.max_error_rate)
    return Advice(
        setting,
        best.terms.max_error_rate,
        f"of {_wrong(best, Tier.SEMANTIC).of} compared hits by meaning, "
        f"{_percent(_found_wrong(best))} % were wrong, in excess of exact matches",
    )


def _found_wrong(outcome: Outcome) -> float:
    excess = _excess(outcome)
    return excess.value if excess else _wrong(outcome, Tier.SEMANTIC).value or 0.0


def _ttl(outcomes: Sequence[Outcome]) -> Advice:
    """Suggest the shortest lifetime with at least 95 % of the hits of the longest one.

    Only lifetimes that were tried count.
    """
    setting, dial = "REPRISE_TTL", outcomes[0].terms.max_error_rate
    tried = [outcome for outcome in outcomes if outcome.terms.max_error_rate == dial]
    hits = {outcome.terms.ttl: outcome.hits.total() for outcome in tried}
    most = hits[max(hits)]
    if not most:
        return Advice(setting, None, "no lifetime that was tried gives a hit")
    ttl = min(ttl for ttl, count in hits.items() if count >= _MOST_OF_ALL * most)
    return Advice(setting, ttl, f"it gives {hits[ttl]} of the {most} hits of the longest lifetime")


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())
