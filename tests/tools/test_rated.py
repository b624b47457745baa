"""Labelled questions, and what is known of them when they are asked."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.core.calibration import uncalibrated
from app.core.errors import BadInput
from app.core.models import Embedding, StoredText
from app.tools.calibrate import Rated
from app.tools.rated import Labelled, Raters, rate_labelled, read_labelled
from tests.fakes import FakeEmbedder, FakeProgress, FakeVerifier

# Degrees: texts are as far apart as their directions.
ANGLES = {
    "bake bread": 0,
    "make a loaf": 20,
    "bake a cake": 30,
    "bake 2 cakes": 40,
    "wash a car": 90,
    "clean a vehicle": 140,
    "paint a car": 150,
    "park a car": 160,
}
DISTANCE = {degrees: 1 - float(np.cos(np.deg2rad(degrees))) for degrees in (10, 20, 30, 50)}


def compass(text: str) -> Embedding | None:
    if text not in ANGLES:
        return None
    angle = np.deg2rad(ANGLES[text])
    return np.array([np.cos(angle), np.sin(angle), 0, 0, 0, 0, 0, 0], np.float32)


class Measuring(FakeVerifier):
    """Says as log-odds how many letters two texts differ by, less 5."""

    def __init__(self) -> None:
        super().__init__()
        self.calibration = uncalibrated(2.0)

    async def verify(self, asked: str, candidates: Sequence[StoredText]) -> Sequence[float]:
        self.asked.append((asked, candidates))
        scores = [abs(len(asked) - len(c.text)) - 5.0 for c in candidates]
        return [self.calibration.probability(score, 0.0, (4, 5)) for score in scores]


def write(path: Path, *lines: object) -> Path:
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def rate(
    labelled: Labelled, max_distance: float | None = None, *, guarded: bool = False
) -> tuple[Sequence[Sequence[Sequence[Rated]]], float]:
    embedder = FakeEmbedder()
    embedder.answer = compass
    raters = Raters(embedder, Measuring(), guarded)
    streams, farthest = rate_labelled(labelled, raters, max_distance, FakeProgress())
    return [[asked.candidates for asked in stream] for stream in streams], farthest


BREAD = {"questions": ["bake bread", "make a loaf"], "near": ["bake a cake"], "domain": "food"}
CARS = {"questions": ["wash a car", "clean a vehicle"], "domain": "cars"}


def test_pairs_are_rated_each_by_itself(tmp_path: Path) -> None:
    path = write(
        tmp_path / "pairs.jsonl",
        {"a": "bake bread", "b": "make a loaf", "same": 1},
        {"a": "bake bread", "b": "bake a cake", "same": 0},
        {"a": "bake bread", "b": "wash a car", "same": 1},  # too far
        {"a": "bake bread", "b": "BAKE bread", "same": 1},  # the very same
        {"a": "bake bread", "b": "unknown", "same": 0},
    )
    ((first, second, *others),), farthest = rate(read_labelled([path], 3), 0.5)
    assert farthest == 0.5
    assert [(r.same, r.at) for r in (*first, *second)] == [(True, None), (False, None)]
    assert [r.score for r in (*first, *second)] == pytest.approx([-4, -4])
    assert [r.distance for r in (*first, *second)] == pytest.approx([DISTANCE[20], DISTANCE[30]])
    assert others == [[], [], []]


def test_a_question_of_a_group_has_the_nearest_of_all_before_it(tmp_path: Path) -> None:
    path = write(tmp_path / "groups.jsonl", BREAD, CARS)
    labelled = read_labelled([path], 1)
    (stream,) = labelled.streams
    places = {question.text: place for place, question in enumerate(stream)}
    (rated,), _ = rate(labelled, 0.2)
    for place, question in enumerate(stream):
        for candidate in rated[place]:
            assert candidate.at is not None
            earlier = stream[candidate.at]
            degrees = abs(ANGLES[earlier.text] - ANGLES[question.text])
            assert candidate.distance == pytest.approx(DISTANCE[degrees])
            assert candidate.same == (earlier.meaning == question.meaning)
            assert candidate.score == pytest.approx(abs(len(earlier.text) - len(question.text)) - 5)
    found = {(place, c.at) for place, candidates in enumerate(rated) for c in candidates}
    food = [places[text] for text in ("bake bread", "make a loaf", "bake a cake")]
    assert found == {(later, earlier) for later in food for earlier in food if earlier < later}
    assert {question.domain for question in stream} == {"food", "cars"}


def test_the_verifier_reads_no_more_than_could_be_asked_about(tmp_path: Path) -> None:
    path = write(tmp_path / "groups.jsonl", {"questions": [*ANGLES]})
    (stream,), _ = rate(read_labelled([path], 1), 2.0)
    for place, candidates in enumerate(stream):
        read = [candidate.score is not None for candidate in candidates]
        assert read == [True] * min(place, 6) + [False] * max(0, place - 6)


def test_what_must_match_exactly_and_does_not_is_no_candidate(tmp_path: Path) -> None:
    labelled = read_labelled([write(tmp_path / "groups.jsonl", BREAD)], 1)
    (stream,) = labelled.streams
    (rated,), _ = rate(labelled, 0.5)
    assert [len(candidates) for candidates in rated] == [0, 1, 2]
    other = replace(stream[0], key=replace(stream[0].key, partition="f" * 64))
    (rated,), _ = rate(Labelled([[other, *stream[1:]]], []), 0.5)
    assert [[candidate.at for candidate in candidates] for candidates in rated] == [[], [], [1]]


def test_unless_told_it_looks_as_far_as_almost_all_that_is_the_same(tmp_path: Path) -> None:
    path = write(tmp_path / "groups.jsonl", BREAD, CARS)
    _, farthest = rate(read_labelled([path], 1))
    assert farthest == 0.36  # 0.98 of the way from 0.06 to 0.357, in hundredths
    other = write(tmp_path / "pairs.jsonl", {"a": "bake bread", "b": "wash a car", "same": 0})
    with pytest.raises(BadInput, match="nothing in these files is the same"):
        rate(read_labelled([other], 1))


def test_what_a_guard_refuses_has_no_score(tmp_path: Path) -> None:
    path = write(tmp_path / "pairs.jsonl", {"a": "bake a cake", "b": "bake 2 cakes", "same": 0})
    for guarded, score in ((False, pytest.approx(-4)), (True, None)):
        ((asked,),), _ = rate(read_labelled([path], 1), 0.5, guarded=guarded)
        assert [candidate.score for candidate in asked] == [score]


def test_of_several_files_each_is_a_domain(tmp_path: Path) -> None:
    one = write(tmp_path / "one.jsonl", BREAD)
    two = write(tmp_path / "two.jsonl", CARS, {"questions": ["bake bread"]})
    pairs = write(tmp_path / "pairs.jsonl", {"a": "bake bread", "b": "make a loaf", "same": 1})
    labelled = read_labelled([one, two, pairs], 2)
    assert labelled.repeats == 2
    assert [len(stream) for stream in labelled.streams] == [5, 5]  # a text is asked once
    assert {q.domain for q in labelled.streams[0]} == {"one.jsonl", "two.jsonl"}
    assert len({q.meaning[0] for q in labelled.streams[0]}) == 3
    rated, _ = rate(labelled, 0.5)
    assert [len(stream) for stream in rated] == [5, 5, 1, 1]
