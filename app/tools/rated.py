"""Rates labelled questions by embedder, guards and verifier: the input of a calibration."""

import asyncio
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from app.core.calibration import lengths_of, raw_score
from app.core.errors import BadInput
from app.core.models import StoredText
from app.core.ports import Embedder, Verifier
from app.matching.guards.proofs import refusal
from app.matching.guards.reading import examine
from app.rules.limits import MOST_VERIFIED, Limits
from app.tools.at_once import each
from app.tools.calibrate import Asked, Rated, Stream
from app.tools.evaluate import Pair, distance_of, read_pairs
from app.tools.groups import Question, questions_of, read_groups, shuffled
from app.tools.jsonl import read_lines
from app.tools.memo import Memo, Remembered
from app.tools.progress import Progress
from app.tools.statistics import Floats

_READ = 2 * MOST_VERIFIED  # of the nearest, some have hit and so are not stored
_REACH = 0.98  # share of equal questions within the greatest distance, unless that is given


@dataclass(frozen=True, slots=True)
class Labelled:
    """Labelled questions: the questions of groups as streams, and single pairs."""

    streams: Sequence[Sequence[Question]]
    pairs: Sequence[Pair]

    @property
    def repeats(self) -> int:
        """The number of streams, each of which asks every question; 1 if there are only pairs."""
        return max(1, len(self.streams))


@dataclass(frozen=True, slots=True)
class Raters:
    """The models that rate questions; `guarded`: guards are applied, too.

    The verifier must be `uncalibrated`, so that its raw scores can be recovered.
    """

    embedder: Embedder
    verifier: Verifier
    guarded: bool


@dataclass(frozen=True, slots=True)
class _Near:
    """An asked question and its candidates; the lists have an entry for each candidate.

    `same`: whether the candidate means the same. `at`: the candidate's index in the stream; None if
    it is always stored.
    """

    asked: str
    stored: Sequence[StoredText]
    same: Sequence[bool]
    at: Sequence[int | None]
    domain: str = ""


def read_labelled(files: Sequence[Path], shuffles: int) -> Labelled:
    """Read files of groups or of pairs. With several files of groups, each of them is a domain.

    The questions of all groups form a stream, which is shuffled into `shuffles` different orders.
    Raises BadInput.
    """
    questions: list[Question] = []
    pairs: list[Pair] = []
    of_groups = [p for p in files if "questions" in next(iter(read_lines(p))).document]
    for path in files:
        if path not in of_groups:
            pairs += read_pairs(path).pairs
            continue
        groups = read_groups(path)
        if len(of_groups) > 1:
            groups = [replace(group, domain=path.name) for group in groups]
        first = 1 + max((question.meaning[0] for question in questions), default=-1)
        for question in questions_of(groups):
            group, miss = question.meaning
            questions.append(replace(question, meaning=(first + group, miss)))
    known = list({question.key.digest: question for question in questions}.values())
    streams = [shuffled(known, seed) for seed in range(shuffles)] if known else []
    return Labelled(streams, pairs)


def rate_labelled(
    labelled: Labelled, raters: Raters, max_distance: float | None, progress: Progress
) -> tuple[Sequence[Stream], float]:
    """Rate each question's nearest earlier questions; return the streams and the greatest distance.

    The greatest distance is `max_distance`; if that is None, a cosine distance within which most
    questions find another that means the same. Pairs are added once for each stream, so that they
    count as often as groups. Raises BadInput if no two questions are the same.
    """
    return asyncio.run(_rate(labelled, raters, max_distance, progress))


async def _rate(
    labelled: Labelled, raters: Raters, max_distance: float | None, progress: Progress
) -> tuple[Sequence[Stream], float]:
    memo = Memo(raters.embedder)
    keys = [q.key for stream in labelled.streams[:1] for q in stream]
    keys += [key for pair in labelled.pairs for key in (pair.stored, pair.asked)]
    texts = dict.fromkeys(key.text for key in keys if key.text is not None)
    with progress("embedding", len(texts)) as advance:
        await memo.learn(texts, advance)
    distances = [await distance_of(pair, memo) for pair in labelled.pairs]
    vectors = [await _vectors(stream, memo) for stream in labelled.streams]
    if max_distance is None:
        max_distance = _reach(labelled, vectors, distances)
    near = [
        list(_nearest(stream, rows, max_distance))
        for stream, rows in zip(labelled.streams, vectors, strict=True)
    ]
    by_pair = _alone(labelled.pairs, distances, max_distance)
    near += [list(by_pair)] * labelled.repeats if labelled.pairs else []
    everything = [asked for stream in near for asked in stream]
    verifier = Remembered(raters.verifier)
    with progress("verifying", len(everything)) as advance:
        rated = await each(everything, partial(_rated, _refuses(raters), verifier), advance)
    ahead = iter(rated)
    return [[next(ahead) for _ in stream] for stream in near], max_distance


async def _vectors(stream: Sequence[Question], memo: Memo) -> Floats:
    """Return the unit vectors of questions, one per row; a row of NaN if there is no embedding."""
    rows = np.full((len(stream), memo.dimensions), np.nan)
    for place, question in enumerate(stream):
        text = question.key.text
        if text is not None and (vector := await memo.embed(text)) is not None:
            rows[place] = vector / np.linalg.norm(vector)
    return rows


def _reach(labelled: Labelled, vectors: Sequence[Floats], distances: Sequence[float]) -> float:
    """Return the cosine distance within which 98 % of questions find one that means the same.

    It is rounded up to a multiple of 0.01.

    Raises BadInput if no two questions are the same.
    """
    found = [d for d, pair in zip(distances, labelled.pairs, strict=True) if pair.same]
    for stream, rows in zip(labelled.streams, vectors, strict=True):
        for place, question in enumerate(stream):
            same = [e for e in range(place) if stream[e].meaning == question.meaning]
            found += [float(np.min(1 - rows[same] @ rows[place]))] if same else []
    found = [distance for distance in found if math.isfinite(distance)]
    if not found:
        raise BadInput("nothing in these files is the same, so there is nothing to calibrate on")
    return math.ceil(100 * float(np.quantile(found, _REACH))) / 100


def _nearest(stream: Sequence[Question], rows: Floats, farthest: float) -> Iterator[_Near]:
    for place, question in enumerate(stream):
        distances = 1 - rows[:place] @ rows[place]
        elsewhere = [e.key.partition != question.key.partition for e in stream[:place]]
        distances[np.array(elsewhere, bool)] = np.nan
        order = np.argsort(distances)[: Limits().candidates]  # NaN comes last
        at = [int(earlier) for earlier in order if distances[earlier] <= farthest]
        yield _Near(
            question.key.text or "",
            [StoredText(stream[e].key.text or "", float(distances[e])) for e in at],
            [stream[e].meaning == question.meaning for e in at],
            at,
            question.domain,
        )


def _alone(pairs: Sequence[Pair], distances: Sequence[float], farthest: float) -> Iterator[_Near]:
    for pair, distance in zip(pairs, distances, strict=True):
        stored, asked = pair.stored, pair.asked
        is_by_meaning = stored.digest != asked.digest and distance <= farthest
        if is_by_meaning and stored.text is not None and asked.text is not None:
            yield _Near(asked.text, [StoredText(stored.text, distance)], [pair.same], [None])
        else:
            yield _Near("", [], [], [])


def _refuses(raters: Raters) -> Callable[[str, str], bool]:
    examined = functools.cache(examine)

    def refuses(asked: str, stored: str) -> bool:
        return raters.guarded and refusal(examined(asked), examined(stored)) is not None

    return refuses


async def _rated(refuses: Callable[[str, str], bool], verifier: Verifier, near: _Near) -> Asked:
    left = [stored for stored in near.stored if not refuses(near.asked, stored.text)][:_READ]
    told = dict(zip(left, await verifier.verify(near.asked, left), strict=True)) if left else {}
    columns = zip(near.stored, near.same, near.at, strict=True)
    rated = [
        Rated(
            raw_score(told.get(stored, 0.0)),
            stored.distance,
            same,
            at,
            lengths_of(near.asked, stored.text),
        )
        for stored, same, at in columns
    ]
    return Asked(rated, near.domain)
