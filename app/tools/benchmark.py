"""`reprise evaluate --benchmark`: how well our rules and other caches' rules distinguish questions.

A rewording of a question should hit. A near miss, which asks something else, should not.
"""

import asyncio
import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from app.core.models import Embedding, Guard, StoredText
from app.dialects.strict_json import JsonObject
from app.matching.guards.reading import examine
from app.tools.at_once import each
from app.tools.client import Reply
from app.tools.evaluate import Models, Pair, distance_of, guards_of
from app.tools.groups import Group, Meaning, Question, questions_of, shuffled
from app.tools.memo import Lent, Memo, Remembered
from app.tools.pairings import Two, as_pair, nearest_pairs, pairs_inside
from app.tools.progress import Progress
from app.tools.replay import MayServe, Plan, Switch, ask, proxied
from app.tools.statistics import Flags, Floats, Groups, Ints, Row, Table

# The default greatest cosine distances at which other caches serve the nearest question:
# - most tutorials; the same as `VERIFIER=off` and `GUARDS=off` here;
# - langchain_redis.RedisSemanticCache(distance_threshold=0.2), and `score_threshold=0.2` of
#   langchain_community.cache.RedisSemanticCache: a cosine distance both;
# - GPTCache: Config(similarity_threshold=0.8) of what SearchDistanceEvaluation(max_distance=4.0)
#   makes of the squared Euclidean distance of unit vectors, which is twice the cosine distance:
#   4 - 2 d >= 0.8 * 4.
PEERS = (("tutorial", 0.15), ("LangChain", 0.2), ("GPTCache", 0.4))

_RULE_COLUMNS = (
    "rule",
    "limit",
    "rewordings_served",
    "near_misses_served",
    "right_of_ideal_hits",
    "wrong_among_hits",
)
_PART_COLUMNS = ("figure", "value")
_ALONE = ("rewordings_refused_alone", "near_misses_refused_alone")
_DECIDED = ("rewordings_lost", "near_misses_held_back")
_GUARD_COLUMNS = ("guard", *_ALONE, *_DECIDED)
_OPEN = 0.5  # a dial; any value gives the same result with a verifier that accepts everything


@dataclass(frozen=True, slots=True)
class Terms:
    """The settings with which the proxy is measured.

    `error_rates` are the dials to measure; without a verifier they have no effect. `show` is how
    many wrong hits to list for each dial.
    """

    guards: Switch
    max_distance: float
    error_rates: Sequence[float]
    show: int = 0

    def rules(self, models: Models) -> Sequence[MayServe]:
        """Return the rules to measure, one for each dial."""
        rates = self.error_rates if models.verifier else [None]
        return [MayServe("reprise", self.guards, self.max_distance, rate) for rate in rates]


@dataclass(frozen=True, slots=True)
class Benchmark:
    """The results: tables for the rules, for single parts, and for single guards.

    The row of a guard counts only the pairs that no other guard refuses. Two shares in the row
    count all of these pairs. The other two shares count only those of the pairs that the verifier
    would accept at the greatest dial.
    """

    file: str
    counts: dict[str, int]
    rules: Table
    parts: Table
    guards: Table
    examples: Sequence[str] = ()

    def document(self) -> JsonObject:
        """Return all figures as JSON values."""
        tables = {"rules": self.rules, "parts": self.parts, "guards": self.guards}
        figures = {name: table.document() for name, table in tables.items()}
        examples = {"examples": [*self.examples]} if self.examples else {}
        return {"file": self.file, **self.counts, **figures, **examples}

    def __str__(self) -> str:
        counts = ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in self.counts.items())
        tables = [str(self.parts), *([str(self.guards)] if self.guards.rows else [])]
        blocks = [f"{self.file}: {counts}\n{self.rules}", *tables, *self.examples[:1]]
        return "\n\n".join(blocks) + "".join(f"\n{line}" for line in self.examples[1:]) + "\n"


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Pairs of questions, as arrays with an entry for each pair.

    `same`: whether the two questions are wordings of one question.
    `distance`: the cosine distance of the two questions.
    `told`: the verifier's probability, whatever the distance is.
    """

    groups: Groups
    same: Flags
    distance: Floats
    told: Floats


@dataclass(frozen=True, slots=True)
class _Answered:
    """Pairs that were sent to a proxy; in each group, half of the pairs are rewordings.

    `open`: whether the answer is served if the verifier accepts every probability.
    `exact`: whether the answer is served by exact match, which does not depend on the dial.
    """

    pairs: _Pairs
    open: Flags
    exact: Flags

    def served(self, least: float) -> Flags:
        """Return which pairs are served if the verifier's probability must be at least `least`."""
        return self.open & ((self.pairs.told >= least) | self.exact)


@dataclass(frozen=True, slots=True)
class _Hits:
    """The outcome of each question of a stream, as arrays with an entry for each question.

    `sources` has the index of the question whose answer was served; -1 for a miss.
    """

    right: Flags
    wrong: Flags
    sources: Ints

    def mistakes(self, stream: Sequence[Question]) -> Iterator[str]:
        """Yield a line for each wrong hit: the asked question, and the stored question."""
        for place in np.flatnonzero(self.wrong).tolist():
            asked, stored = stream[place], stream[self.sources[place]]
            yield f"{asked.text!r} got the answer to {stored.text!r}"


def _hits(stream: Sequence[Question], sources: Sequence[int]) -> _Hits:
    """Return the outcome of each question of a stream; `sources` is as in _Hits."""
    places = np.array(sources, int)
    meanings = [question.meaning for question in stream]
    same = [at >= 0 and meanings[at] == asked for at, asked in zip(sources, meanings, strict=True)]
    right = np.array(same, bool)
    return _Hits(right, (places >= 0) & ~right, places)


def run_benchmark(
    file: str, groups: Sequence[Group], models: Models, terms: Terms, progress: Progress
) -> Benchmark:
    """Make pairs and a stream from groups; measure the proxy and other caches' rules on them.

    The verifier reads each pair of texts only once; its probabilities are cached.
    """
    verifier = Remembered(models.verifier) if models.verifier else None
    models = Models(Memo(models.embedder), verifier)
    stream = shuffled(list(questions_of(groups)))
    vectors = _vectors(stream, models, progress)
    inside = list(pairs_inside(stream))
    judged = _judge(inside, len(groups), models, progress)
    refusing = _refusing(inside)
    nearest = list(nearest_pairs(stream, vectors))
    answered = _ask(nearest, len(groups), models, terms, progress)
    asked = Groups(_numbers(stream), len(groups))
    ideal = _ideal(stream)
    boldest = min(_least(rule, models) for rule in terms.rules(models))
    rows: list[Row] = []
    examples: list[str] = []
    for rule in terms.rules(models):
        hits = _replay(stream, rule, models, progress)
        served = answered.served(_least(rule, models))
        limit = f"dial {rule.error_rate:g}" if rule.error_rate else f"{rule.distance:g} apart"
        rows.append(_row((rule.stage, limit), (answered.pairs, served), (asked, hits, ideal)))
        shown = itertools.islice(hits.mistakes(stream), terms.show)
        examples += [f"{limit}: {mistake}" for mistake in shown]
    for name, distance in PEERS:
        hits = _nearest_answers(stream, vectors, distance)
        served = answered.pairs.distance <= distance
        names = (name, f"{distance:g} apart")
        rows.append(_row(names, (answered.pairs, served), (asked, hits, ideal)))
    wordings = sum(question.is_wording for question in stream)
    return Benchmark(
        file=file,
        counts={
            "groups": len(groups),
            "wordings": wordings,
            "near_misses": len(stream) - wordings,
            "ideal_hits": int(ideal.sum()),
        },
        rules=Table(_RULE_COLUMNS, rows),
        parts=Table(_PART_COLUMNS, list(_parts(judged, refusing, verified=verifier is not None))),
        guards=Table(_GUARD_COLUMNS, list(_guard_rows(judged, refusing, boldest))),
        examples=examples,
    )


def _numbers(questions: Sequence[Question]) -> Ints:
    """Return the number of each question's group."""
    return np.array([question.meaning[0] for question in questions], int)


def _least(rule: MayServe, models: Models) -> float:
    if models.verifier is None or rule.error_rate is None:
        return 0.0
    return models.verifier.calibration.threshold(rule.error_rate)


def _row(
    names: tuple[str, str], of_pairs: tuple[_Pairs, Flags], of_stream: tuple[Groups, _Hits, Flags]
) -> Row:
    pairs, served = of_pairs
    asked, hits, ideal = of_stream
    return {
        "rule": names[0],
        "limit": names[1],
        "rewordings_served": pairs.groups.share(served, pairs.same),
        "near_misses_served": pairs.groups.share(served, ~pairs.same),
        "right_of_ideal_hits": asked.share(hits.right, ideal),
        "wrong_among_hits": asked.share(hits.wrong, hits.right | hits.wrong),
    }


def _refusing(pairs: Sequence[Two]) -> Sequence[Sequence[Guard]]:
    """Return, for each pair, the guards that refuse it."""
    examined = functools.cache(examine)
    return [guards_of(as_pair(two), examined) for two in pairs]


def _parts(judged: _Pairs, refusing: Sequence[Sequence[Guard]], *, verified: bool) -> Iterator[Row]:
    """Yield figures for the verifier alone, the distance alone and the guards alone.

    The pairs are those inside groups. If `verified` is false, the verifier has no figure.
    """
    if verified:
        area = judged.groups.auc(judged.told, judged.same)
        yield {"figure": "AUC of the verifier", "value": area}
    yield {
        "figure": "AUC of the distance",
        "value": judged.groups.auc(-judged.distance, judged.same),
    }
    refused = np.array([*map(bool, refusing)], bool)
    for name, kind in (("rewordings", judged.same), ("near misses", ~judged.same)):
        share = judged.groups.share(refused, kind)
        yield {"figure": f"{name} refused by guards", "value": share}


def _guard_rows(judged: _Pairs, refusing: Sequence[Sequence[Guard]], least: float) -> Iterator[Row]:
    """Yield for each guard the shares of pairs inside groups that only this guard refuses.

    The last two shares count only pairs to which the verifier gives at least the probability
    `least`.
    """
    kinds = (judged.same, ~judged.same)
    for guard in sorted(set(itertools.chain.from_iterable(refusing))):
        alone = np.array([[*told] == [guard] for told in refusing], bool)
        shares = [judged.groups.share(alone, kind) for kind in kinds]
        shares += [judged.groups.share(alone & (judged.told >= least), kind) for kind in kinds]
        yield dict(zip(_GUARD_COLUMNS, (guard.value, *shares), strict=True))


def _judge(pairs: Sequence[Two], groups: int, models: Models, progress: Progress) -> _Pairs:
    """Return pairs with their distances and the verifier's probabilities."""
    with progress("verifying", len(pairs)) as advance:
        work = functools.partial(_judged, models)
        judged = asyncio.run(each(map(as_pair, pairs), work, advance))
    return _Pairs(
        groups=Groups(_numbers([asked for _, asked in pairs]), groups),
        same=np.array([as_pair(two).same for two in pairs], bool),
        distance=np.array([distance for distance, _ in judged], float),
        told=np.array([told for _, told in judged], float),
    )


async def _judged(models: Models, pair: Pair) -> tuple[float, float]:
    """Return a pair's distance, and the verifier's probability (0 if it was not asked)."""
    distance = await distance_of(pair, models.embedder)
    stored, asked = pair.stored.text, pair.asked.text
    if models.verifier is None or stored is None or asked is None or math.isinf(distance):
        return distance, 0.0
    (probability,) = await models.verifier.verify(asked, [StoredText(stored, distance)])
    return distance, probability


def _ask(
    pairs: Sequence[Two], groups: int, models: Models, terms: Terms, progress: Progress
) -> _Answered:
    """Send both questions of each pair to a proxy whose verifier accepts every probability.

    Each pair has its own namespace, so that pairs do not answer each other.
    """
    judged = _judge(pairs, groups, models, progress)
    verifier = models.verifier
    if verifier is not None:
        bold = replace(verifier.calibration, thresholds=((0.0, 0.0),))
        models = Models(models.embedder, Lent(verifier, bold))
    rule = MayServe("open", terms.guards, terms.max_distance, _OPEN if verifier else None)
    replies = []
    with (
        progress("asking", len(pairs)) as advance,
        proxied(2 * len(pairs), rule, models) as (client, desk),
    ):
        for number, both in enumerate(pairs):
            plans = [Plan(q.text, "an answer", f"pair {number}", False) for q in both]
            _, reply = [ask(client, desk, plan, {}) for plan in plans]
            replies.append(reply)
            advance()
    return _Answered(
        pairs=judged,
        open=np.array([reply.is_hit for reply in replies], bool),
        exact=np.array([reply.is_hit and not _is_by_meaning(reply) for reply in replies], bool),
    )


def _is_by_meaning(reply: Reply) -> bool:
    return "semantic" in reply.cache_status


def _ideal(stream: Sequence[Question]) -> Flags:
    """Return for each question of a stream whether an earlier one has the same meaning."""
    seen: set[Meaning] = set()
    flags = []
    for question in stream:
        flags.append(question.meaning in seen)
        seen.add(question.meaning)
    return np.array(flags, bool)


def _replay(
    stream: Sequence[Question], rule: MayServe, models: Models, progress: Progress
) -> _Hits:
    """Send a stream to an empty proxy; return its hits by meaning."""
    sources = []
    label = "stream" if rule.error_rate is None else f"stream, dial {rule.error_rate:g}"
    with (
        progress(label, len(stream)) as advance,
        proxied(len(stream), rule, models) as (client, desk),
    ):
        for place, question in enumerate(stream):
            reply = ask(client, desk, Plan(question.text, str(place), "", is_ideal_hit=False), {})
            is_hit = reply.is_hit and _is_by_meaning(reply)
            sources.append(int(reply.answer) if is_hit else -1)
            advance()
    return _hits(stream, sources)


def _vectors(stream: Sequence[Question], models: Models, progress: Progress) -> Floats:
    """Return the unit vectors of questions, one per row; a row of NaN if there is no embedding."""
    rows = np.full((len(stream), models.embedder.dimensions), np.nan)
    with progress("embedding", len(stream)) as advance:

        async def embed(question: Question) -> Embedding | None:
            return await models.embedder.embed(question.key.text) if question.key.text else None

        vectors = asyncio.run(each(stream, embed, advance))
    for place, vector in enumerate(vectors):
        if vector is not None:
            rows[place] = vector / np.linalg.norm(vector)
    return rows


def _nearest_answers(stream: Sequence[Question], vectors: Floats, farthest: float) -> _Hits:
    """Return each question's outcome if it gets the answer of the nearest stored question.

    The distance of that stored question must be at most `farthest`.
    """
    sources = []
    stored: list[int] = []
    for place in range(len(stream)):
        distances = 1 - vectors[stored] @ vectors[place]
        near = np.flatnonzero(distances <= farthest)
        if near.size:
            sources.append(stored[near[np.argmin(distances[near])]])
        else:
            sources.append(-1)
            stored.append(place)
    return _hits(stream, sources)
