"""What rehearsing a log on several terms has shown, and which settings that suggests."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from app.core.cache_status import Tier
from app.core.shares import Difference, difference
from app.dialects.strict_json import JsonObject
from app.matching.comparison import Agreement
from app.settings import Settings
from app.tools.evaluate import Models
from app.tools.progress import Progress
from app.tools.rehearse import Outcome, Pair, Rehearsal, Terms
from app.tools.statistics import Row, Share, Table
from app.tools.traffic import Traffic

_DIALS = (0.01, 0.02, 0.05, 0.1)
_LIFETIMES = (3600.0, 86_400.0, 604_800.0)  # an hour, a day, a week
_ENOUGH = 30  # answers compared, below which no dial is suggested
_MOST_OF_ALL = 0.95  # of the hits that the longest lifetime takes
_SHOWN = 100  # characters of a text
_COLUMNS = (
    "dial",
    "ttl",
    "hit_rate",
    "exact",
    "semantic",
    "wrong_exact",
    "wrong_semantic",
    "excess_wrong",
)


@dataclass(frozen=True, slots=True)
class Advice:
    """A setting to choose, and why; without a `value`, why there is none to suggest."""

    setting: str
    value: float | None
    why: str

    def __str__(self) -> str:
        told = "" if self.value is None else f"={self.value:g}"
        return f"{self.setting}{told}  {self.why}"


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What a log has shown; the first of `outcomes` is that of the operator's own settings."""

    traffic: Traffic
    outcomes: Sequence[Outcome]
    show: int = 0

    @property
    def own(self) -> Outcome:
        """What the operator's own settings do."""
        return self.outcomes[0]

    @property
    def advice(self) -> Sequence[Advice]:
        """What is suggested."""
        return [_dial(self.outcomes), _ttl(self.outcomes)]

    def document(self) -> JsonObject:
        """Return every figure as a JSON-ready mapping."""
        own = self.own
        excess = [_excess(outcome) for outcome in self.outcomes]
        rows = Table(_COLUMNS, [_row(outcome) for outcome in self.outcomes]).document()
        return {
            "file": self.traffic.file,
            "requests": own.requests,
            "unusable": dict(self.traffic.unusable),
            "bypassed": dict(own.bypassed),
            "rows": [
                {**row, "excess_wrong": told and asdict(told)}
                for row, told in zip(rows, excess, strict=True)
            ],
            "saved": {
                "seconds": round(own.seconds, 3),
                "tokens": {
                    model: {"input": asked, "output": told}
                    for model, (asked, told) in own.tokens.items()
                },
            },
            "advice": [asdict(advice) for advice in self.advice],
            "wrong": [self._pair(pair) for pair in self._telling()],
        }

    def __str__(self) -> str:
        own = self.own
        usable = _counted({"requests": own.requests, **self.traffic.unusable})
        lines = [f"{self.traffic.file}: {usable}"]
        if own.bypassed:
            lines.append(f"past the cache: {_counted(own.bypassed)}")
        lines += [str(Table(_COLUMNS, [_row(outcome) for outcome in self.outcomes])), ""]
        asked, told = (sum(pair[at] for pair in own.tokens.values()) for at in (0, 1))
        lines.append(f"saved: {own.seconds:.1f} s, {asked} tokens in, {told} tokens out")
        lines += [f"suggested: {advice}" for advice in self.advice]
        for pair in self._telling():
            shown = self._pair(pair)
            lines += ["", f"{pair.tier.value} {pair.distance}".rstrip()]
            lines += [f"  {name:<9}{_short(str(text))}" for name, text in shown.items()]
        return "\n".join(lines)

    def _telling(self) -> Sequence[Pair]:
        """Return the hits by meaning in which a fact differs, those from farthest away first."""
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
    """Replay a log on the operator's terms and on others. Raises ConfigurationError."""
    rehearsal = Rehearsal(traffic, settings, models)
    is_verified = models.verifier is not None
    outcomes = [
        rehearsal.replay(terms, progress)
        for terms in terms_for(settings, traffic, is_verified=is_verified)
    ]
    return Rehearsed(traffic, outcomes, show)


def terms_for(settings: Settings, traffic: Traffic, *, is_verified: bool) -> Sequence[Terms]:
    """Return the operator's own terms, then other dials, then other lifetimes.

    Only such lifetimes as the log is long enough to show. With a policy file, dials below the
    operator's are left out: its rules may have been made for that one.
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
    }


def _wrong(outcome: Outcome, tier: Tier) -> Share:
    counts = outcome.counted(tier)
    return Share(counts[Agreement.WRONG], sum(counts.values()))


def _excess(outcome: Outcome) -> Difference | None:
    """Return how much more often hits by meaning are found wrong than exact repeats are."""
    semantic, exact = (_wrong(outcome, tier) for tier in (Tier.SEMANTIC, Tier.EXACT))
    return difference(semantic.count, semantic.of, exact.count, exact.of)


def _dial(outcomes: Sequence[Outcome]) -> Advice:
    """Suggest the greatest dial whose hits were found wrong no more often than it says.

    Where the log has no exact repeats to tell how far answers differ anyway, all of it counts.
    """
    setting, ttl = "REPRISE_MAX_ERROR_RATE", outcomes[0].terms.ttl
    on_own = [outcome for outcome in outcomes if outcome.terms.ttl == ttl]
    enough = [o for o in on_own if _wrong(o, Tier.SEMANTIC).of >= _ENOUGH]
    if not enough:
        most = max(_wrong(outcome, Tier.SEMANTIC).of for outcome in on_own)
        return Advice(setting, None, f"{most} hits by meaning could be compared, {_ENOUGH} needed")
    kept = [o for o in enough if _found_wrong(o) <= o.terms.max_error_rate]
    if not kept:
        return Advice(setting, None, "at every dial more was found wrong: look at --show 20 first")
    best = max(kept, key=lambda outcome: outcome.terms.max_error_rate)
    return Advice(
        setting,
        best.terms.max_error_rate,
        f"found wrong beyond repeats: {_percent(_found_wrong(best))} % of "
        f"{_wrong(best, Tier.SEMANTIC).of} compared",
    )


def _found_wrong(outcome: Outcome) -> float:
    excess = _excess(outcome)
    return excess.value if excess else _wrong(outcome, Tier.SEMANTIC).value or 0.0


def _ttl(outcomes: Sequence[Outcome]) -> Advice:
    """Suggest the shortest lifetime that takes nearly all hits of the longest one tried."""
    setting, dial = "REPRISE_TTL", outcomes[0].terms.max_error_rate
    tried = [outcome for outcome in outcomes if outcome.terms.max_error_rate == dial]
    hits = {outcome.terms.ttl: outcome.hits.total() for outcome in tried}
    most = hits[max(hits)]
    if not most:
        return Advice(setting, None, "no lifetime that was tried makes a hit")
    ttl = min(ttl for ttl, count in hits.items() if count >= _MOST_OF_ALL * most)
    return Advice(setting, ttl, f"{hits[ttl]} of the {most} hits of the longest that was tried")


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
