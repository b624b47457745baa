"""`reprise evaluate --benchmark`: rewordings against their near misses, beside others' rules."""

import asyncio
import functools
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from app.core.models import StoredText
from app.dialects.strict_json import JsonObject
from app.matching.guards.reading import examine
from app.tools.client import Reply
from app.tools.evaluate import Models, Pair, distance_of, guards_of
from app.tools.groups import Group, Meaning, Question, questions_of, shuffled
from app.tools.memo import Lent, Memo, Remembered
from app.tools.progress import Progress
from app.tools.replay import MayServe, Plan, Switch, ask, proxied
from app.tools.statistics import Flags, Floats, Groups, Row, Table

# The greatest cosine distances at which others serve the nearest question, by default:
# - most tutorials, as `VERIFIER=off` and `GUARDS=off` do here;
# - langchain_redis.RedisSemanticCache(distance_threshold=0.2), and `score_threshold=0.2` of
#   langchain_community.cache.RedisSemanticCache: a cosine distance both;
# - GPTCache: Config(similarity_threshold=0.8) of what SearchDistanceEvaluation(max_distance=4.0)
#   makes of the squared Euclidean distance of unit vectors, which is twice the cosine distance:
#   4 - 2 d >= 0.8 * 4.
PEERS = (("tutorial", 0.15), ("LangChain", 0.2), ("GPTCache", 0.4))

_SEED = 0
_RULE_COLUMNS = (
    "rule",
    "limit",
    "rewordings_served",
    "near_misses_served",
    "right_of_ideal_hits",
    "wrong_among_hits",
)
_PART_COLUMNS = ("figure", "value")
_OPEN = 0.5  # a share of wrong hits; any does


@dataclass(frozen=True, slots=True)
class Terms:
    """By what the proxy serves; without a verifier, `error_rates` mean nothing."""

    guards: Switch
    max_distance: float
    error_rates: Sequence[float]

    def rules(self, models: Models) -> Sequence[MayServe]:
        """Return the rules to measure."""
        rates = self.error_rates if models.verifier else [None]
        return [MayServe("reprise", self.guards, self.max_distance, rate) for rate in rates]


@dataclass(frozen=True, slots=True)
class Benchmark:
    """What was measured: of each rule, and of the parts by themselves."""

    file: str
    counts: dict[str, int]
    rules: Table
    parts: Table

    def document(self) -> JsonObject:
        """Return every figure as a JSON-ready mapping."""
        figures = {"rules": self.rules.document(), "parts": self.parts.document()}
        return {"file": self.file, **self.counts, **figures}

    def __str__(self) -> str:
        counts = ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in self.counts.items())
        return f"{self.file}: {counts}\n{self.rules}\n\n{self.parts}\n"


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Pairs, one an entry of each array: half of them rewordings, in each group.

    `told` is the verifier's probability, `refused` whether a guard refuses. `open` are those that
    the proxy would serve if the verifier took any probability, `exact` those that it serves as they
    are.
    """

    groups: Groups
    same: Flags
    distance: Floats
    told: Floats
    refused: Flags
    open: Flags
    exact: Flags

    def served(self, least: float) -> Flags:
        """Return which are served from a probability on."""
        return self.open & ((self.told >= least) | self.exact)


@dataclass(frozen=True, slots=True)
class _Hits:
    """What came of the questions of a stream, one an entry of each array."""

    right: Flags
    wrong: Flags


def run_benchmark(
    file: str, groups: Sequence[Group], models: Models, terms: Terms, progress: Progress
) -> Benchmark:
    """Measure the proxy on groups, and the rules of others on the same pairs and the same stream.

    The verifier is asked once for any two texts.
    """
    verifier = Remembered(models.verifier) if models.verifier else None
    memo = Memo(models.embedder)
    models = Models(memo, verifier)
    questions = list(questions_of(groups))
    texts = dict.fromkeys(t for q in questions for t in (q.text, q.key.text) if t is not None)
    with progress("embedding", len(texts)) as advance:
        asyncio.run(memo.learn(texts, advance))
    pairs = _compare(groups, questions, models, terms, progress)
    stream = shuffled(questions)
    of_items = np.array([question.meaning[0] for question in stream])
    asked = Groups(of_items, len(groups))
    ideal = _ideal(stream)
    rows: list[Row] = []
    for rule in terms.rules(models):
        hits = _replay(stream, rule, models, progress)
        served = pairs.served(_least(rule, models))
        limit = f"dial {rule.error_rate:g}" if rule.error_rate else f"{rule.distance:g} apart"
        rows.append(_row((rule.stage, limit), (pairs, served), (asked, hits, ideal)))
    vectors = asyncio.run(_vectors(stream, memo))
    for name, distance in PEERS:
        hits = _nearest_answers(stream, vectors, distance)
        served = pairs.distance <= distance
        rows.append(_row((name, f"{distance:g} apart"), (pairs, served), (asked, hits, ideal)))
    wordings = sum(question.is_wording for question in questions)
    return Benchmark(
        file=file,
        counts={
            "groups": len(groups),
            "wordings": wordings,
            "near_misses": len(questions) - wordings,
            "ideal_hits": int(ideal.sum()),
        },
        rules=Table(_RULE_COLUMNS, rows),
        parts=Table(_PART_COLUMNS, list(_parts(pairs, verified=verifier is not None))),
    )


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


def _parts(pairs: _Pairs, *, verified: bool) -> Iterator[Row]:
    if verified:
        yield {"figure": "AUC of the verifier", "value": pairs.groups.auc(pairs.told, pairs.same)}
    near = np.where(np.isfinite(pairs.distance), -pairs.distance, -np.inf)
    yield {"figure": "AUC of the distance", "value": pairs.groups.auc(near, pairs.same)}
    for name, kind in (("rewordings", pairs.same), ("near misses", ~pairs.same)):
        refused = pairs.groups.share(pairs.refused, kind)
        yield {"figure": f"{name} refused by guards", "value": refused}


def pairs_of(groups: int, questions: Sequence[Question]) -> Iterator[tuple[Question, Question]]:
    """Yield pairs of what is stored and what is asked: in each group one wording and all others.

    They are as many rewordings as near misses: what there is more of is drawn from.
    """
    draw = random.Random(_SEED)  # noqa: S311
    members: list[list[Question]] = [[] for _ in range(groups)]
    for question in questions:
        members[question.meaning[0]].append(question)
    for group in members:
        drawn = draw.sample(group, len(group))
        wordings = [question for question in drawn if question.is_wording]
        near = [question for question in drawn if not question.is_wording]
        for both in zip(wordings[1:], near, strict=False):
            yield from ((wordings[0], asked) for asked in both)


def _compare(
    groups: Sequence[Group],
    questions: Sequence[Question],
    models: Models,
    terms: Terms,
    progress: Progress,
) -> _Pairs:
    """Ask the embedder, the guards, the verifier and the proxy about pairs."""
    pairs = list(pairs_of(len(groups), questions))
    examined = functools.cache(examine)
    told, distances, refused = [], [], []
    with progress("verifying pairs", len(pairs)) as advance:
        for stored, asked in pairs:
            pair = Pair(stored.key, asked.key, asked.is_wording)
            distance, probability = asyncio.run(_judged(pair, models))
            distances.append(distance)
            told.append(probability)
            refused.append(bool(guards_of(pair, examined)))
            advance()
    replies = list(_replies(pairs, models, terms, progress))
    return _Pairs(
        groups=Groups(np.array([asked.meaning[0] for _, asked in pairs], int), len(groups)),
        same=np.array([asked.is_wording for _, asked in pairs], bool),
        distance=np.array(distances, float),
        told=np.array(told, float),
        refused=np.array(refused, bool),
        open=np.array([reply.is_hit for reply in replies], bool),
        exact=np.array([reply.is_hit and not _is_by_meaning(reply) for reply in replies], bool),
    )


async def _judged(pair: Pair, models: Models) -> tuple[float, float]:
    """Return a pair's distance, and what the verifier says of it, however far apart."""
    distance = await distance_of(pair, models.embedder)
    stored, asked = pair.stored.text, pair.asked.text
    if models.verifier is None or stored is None or asked is None or math.isinf(distance):
        return distance, 0.0
    (probability,) = await models.verifier.verify(asked, [StoredText(stored, distance)])
    return distance, probability


def _replies(
    pairs: Sequence[tuple[Question, Question]], models: Models, terms: Terms, progress: Progress
) -> Iterator[Reply]:
    """Ask a proxy both of each pair, as a caller of its own; the verifier takes any probability."""
    verifier = models.verifier
    if verifier is not None:
        bold = replace(verifier.calibration, thresholds=((0.0, 0.0),))
        models = Models(models.embedder, Lent(verifier, bold))
    rule = MayServe("open", terms.guards, terms.max_distance, _OPEN if verifier else None)
    with (
        progress("asking pairs", len(pairs)) as advance,
        proxied(2 * len(pairs), rule, models) as (client, desk),
    ):
        for number, (stored, asked) in enumerate(pairs):
            for question in (stored, asked):
                plan = Plan(question.text, "an answer", f"pair {number}", is_ideal_hit=False)
                reply = ask(client, desk, plan, {})
            yield reply
            advance()


def _is_by_meaning(reply: Reply) -> bool:
    return "semantic" in reply.cache_status


def _ideal(stream: Sequence[Question]) -> Flags:
    """Return which questions have been asked before in other words."""
    seen: set[Meaning] = set()
    flags = []
    for question in stream:
        flags.append(question.meaning in seen)
        seen.add(question.meaning)
    return np.array(flags, bool)


def _replay(
    stream: Sequence[Question], rule: MayServe, models: Models, progress: Progress
) -> _Hits:
    """Send a stream through an empty proxy."""
    right, wrong = [], []
    label = "stream" if rule.error_rate is None else f"stream, dial {rule.error_rate:g}"
    with (
        progress(label, len(stream)) as advance,
        proxied(len(stream), rule, models) as (client, desk),
    ):
        for place, question in enumerate(stream):
            reply = ask(client, desk, Plan(question.text, str(place), "", is_ideal_hit=False), {})
            is_hit = reply.is_hit and _is_by_meaning(reply)
            is_right = is_hit and stream[int(reply.answer)].meaning == question.meaning
            right.append(is_right)
            wrong.append(is_hit and not is_right)
            advance()
    return _Hits(np.array(right, bool), np.array(wrong, bool))


async def _vectors(stream: Sequence[Question], memo: Memo) -> Floats:
    """Return the unit vectors of questions, one a row; what is not embedded is far from all."""
    rows = np.full((len(stream), memo.dimensions), np.nan)
    for place, question in enumerate(stream):
        text = question.key.text
        if text is not None and (vector := await memo.embed(text)) is not None:
            rows[place] = vector / np.linalg.norm(vector)
    return rows


def _nearest_answers(stream: Sequence[Question], vectors: Floats, farthest: float) -> _Hits:
    """Serve a stream by the distance alone: the nearest stored question answers, if near enough."""
    right, wrong = np.zeros(len(stream), bool), np.zeros(len(stream), bool)
    stored: list[int] = []
    for place, question in enumerate(stream):
        distances = 1 - vectors[stored] @ vectors[place]
        near = np.flatnonzero(distances <= farthest)
        if near.size:
            source = stored[near[np.argmin(distances[near])]]
            is_right = stream[source].meaning == question.meaning
            right[place], wrong[place] = is_right, not is_right
        else:
            stored.append(place)
    return _Hits(right, wrong)
