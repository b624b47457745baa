"""The benchmark of wordings and near misses: by the proxy's rules, and by those of other caches."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from app.core.calibration import Calibration
from app.core.errors import BadInput
from app.core.models import Embedding, StoredText
from app.tools.benchmark import PEERS, Benchmark, Terms, run_benchmark
from app.tools.evaluate import Models
from app.tools.groups import BENCHMARK, Group, questions_of, read_groups, sampled, shuffled
from app.tools.pairings import nearest_pairs, pairs_inside
from app.tools.statistics import Area, GroupedShare
from tests.fakes import FakeEmbedder, FakeProgress, FakeVerifier

# Degrees: texts are as far apart as their directions. The topics are at right angles.
ANGLES = {
    "bake bread": 0,
    "make a loaf": 20,  # 0.06 from the first
    "bake a cake": 30,  # 0.13 from the first, 0.015 from the second
    "wash a car": 90,
    "clean a vehicle": 140,  # 0.36 from the one before
    "sell a car": 145,
}
GROUPS = [
    Group(["bake bread", "make a loaf"], ["bake a cake"]),
    Group(["wash a car", "clean a vehicle"], ["sell a car"]),
]


def compass(text: str) -> Embedding:
    angle = np.deg2rad(ANGLES[text])
    return np.array([np.cos(angle), np.sin(angle), 0, 0, 0, 0, 0, 0], np.float32)


class Knowing(FakeVerifier):
    """A verifier that knows which texts ask the same. It is a little less sure about vehicles."""

    def __init__(self) -> None:
        super().__init__()
        self.calibration = Calibration((0.0, 1.0), 0.5, ((0.01, 0.9), (0.05, 0.6)))

    async def verify(self, asked: str, candidates: Sequence[StoredText]) -> Sequence[float]:
        self.asked.append((asked, candidates))
        sure = 0.7 if ANGLES[asked] >= 90 else 0.95
        same = [{asked, c.text} in ({*group.wordings} for group in GROUPS) for c in candidates]
        return [sure if is_same else 0.2 for is_same in same]


def measure(verifier: FakeVerifier | None) -> Benchmark:
    embedder = FakeEmbedder()
    embedder.answer = compass
    terms = Terms("off", 0.5, [0.01, 0.05])
    return run_benchmark("file", GROUPS, Models(embedder, verifier), terms, FakeProgress())


def figures(measured: Benchmark, column: str) -> dict[str, tuple[int, int]]:
    """Return the shares of a column, by rule and limit: each as its count and its total."""
    counted = {}
    for row in measured.rules.rows:
        share = row[column]
        assert isinstance(share, GroupedShare)
        counted[f"{row['rule']} {row['limit']}"] = share.count, share.of
    return counted


def test_pairs_are_counted_by_rule() -> None:
    measured = measure(Knowing())
    assert figures(measured, "rewordings_served") == {
        "reprise dial 0.01": (1, 2),  # of bread it is sure
        "reprise dial 0.05": (2, 2),
        "tutorial 0.15 apart": (1, 2),
        "LangChain 0.2 apart": (1, 2),
        "GPTCache 0.4 apart": (2, 2),
    }
    served = figures(measured, "near_misses_served")
    assert served["reprise dial 0.05"] == (0, 2)
    assert served["tutorial 0.15 apart"] == (2, 2)


def test_a_stream_is_put_on_miss_by_every_rule() -> None:
    order = [question.text for question in shuffled(list(questions_of(GROUPS)))]
    assert order == [
        "clean a vehicle",
        "bake a cake",
        "make a loaf",
        "bake bread",
        "sell a car",
        "wash a car",
    ]
    measured = measure(Knowing())
    right = figures(measured, "right_of_ideal_hits")
    wrong = figures(measured, "wrong_among_hits")
    assert (right["reprise dial 0.01"], wrong["reprise dial 0.01"]) == ((1, 2), (0, 1))
    assert (right["reprise dial 0.05"], wrong["reprise dial 0.05"]) == ((2, 2), (0, 2))
    # Loaf and bread get the cake's answer, and who sells gets that of who cleans.
    for name in ("tutorial 0.15 apart", "LangChain 0.2 apart"):
        assert (right[name], wrong[name]) == ((0, 2), (3, 3))
    assert (right["GPTCache 0.4 apart"], wrong["GPTCache 0.4 apart"]) == ((1, 2), (3, 4))


def test_the_parts_are_told_by_themselves() -> None:
    parts = {row["figure"]: row["value"] for row in measure(Knowing()).parts.rows}
    verifier, distance = parts["AUC of the verifier"], parts["AUC of the distance"]
    assert isinstance(verifier, Area)
    assert isinstance(distance, Area)
    assert (verifier.value, distance.value) == (1, 0.375)
    refused = parts["rewordings refused by guards"]
    assert isinstance(refused, GroupedShare)
    assert (refused.count, refused.of) == (0, 2)


def test_each_guard_is_told_of_by_what_it_alone_refuses() -> None:
    embedder = FakeEmbedder()
    groups = [
        Group(["is it open on monday", "on monday, is it open"], ["is it open on friday"]),
        Group(["Who owns 15 shops?", "who has fifteen shops"], ["Who owns 16 shops?"]),
    ]
    terms = Terms("on", 0.5, [])
    measured = run_benchmark("file", groups, Models(embedder), terms, FakeProgress())
    assert [row["guard"] for row in measured.guards.rows] == ["dates", "numbers"]
    dates, numbers = (row["near_misses_refused_alone"] for row in measured.guards.rows)
    assert isinstance(dates, GroupedShare)
    assert isinstance(numbers, GroupedShare)
    assert (dates.count, numbers.count, numbers.of) == (2, 2, 4)
    assert len(measured.document()["guards"]) == 2


@pytest.mark.parametrize(("probability", "held_back"), [(0.7, 2), (0.5, 0)])
def test_a_guard_holds_back_what_the_verifier_would_serve_at_the_boldest_dial(
    probability: float, held_back: int
) -> None:
    verifier, embedder = FakeVerifier(), FakeEmbedder()
    verifier.calibration = Calibration((0.0, 1.0), 0.5, ((0.01, 0.9), (0.05, 0.6)))
    verifier.answer = lambda _: probability
    groups = [Group(["is it open on monday", "on monday, is it open"], ["is it open on friday"])]
    terms = Terms("on", 0.5, [0.01, 0.05])
    (dates,) = run_benchmark(
        "file", groups, Models(embedder, verifier), terms, FakeProgress()
    ).guards.rows
    for column, expected in (("near_misses_held_back", held_back), ("rewordings_lost", 0)):
        share = dates[column]
        assert isinstance(share, GroupedShare)
        assert share.count == expected


def test_the_verifier_is_asked_once_for_any_two_texts() -> None:
    verifier = Knowing()
    measure(verifier)
    asked = [(text, c.text) for text, candidates in verifier.asked for c in candidates]
    assert len(asked) == len(set(asked))


def test_wrong_hits_are_listed_by_rule() -> None:
    embedder = FakeEmbedder()
    embedder.answer = compass
    terms = Terms("off", 0.1, [], show=2)
    measured = run_benchmark("file", GROUPS, Models(embedder), terms, FakeProgress())
    assert measured.examples == [
        "0.1 apart: 'make a loaf' got the answer to 'bake a cake'",
        "0.1 apart: 'sell a car' got the answer to 'clean a vehicle'",
    ]
    assert str(measured).endswith("'bake a cake'\n" + measured.examples[1] + "\n")
    assert measured.document()["examples"] == measured.examples


def test_without_a_verifier_the_distance_decides() -> None:
    measured = measure(None)
    assert measured.rules.rows[0]["limit"] == "0.5 apart"
    assert "AUC of the verifier" not in {row["figure"] for row in measured.parts.rows}
    assert figures(measured, "near_misses_served")["reprise 0.5 apart"] == (2, 2)


def test_figures_are_a_document_and_a_table() -> None:
    measured = measure(Knowing())
    document = json.loads(json.dumps(measured.document(), allow_nan=False))
    assert document["groups"] == 2
    assert (document["wordings"], document["near_misses"], document["ideal_hits"]) == (4, 2, 2)
    assert document["rules"][0]["rewordings_served"]["count"] == 1
    assert len(document["rules"]) == 2 + len(PEERS)
    assert "2 groups, 4 wordings, 2 near misses, 2 ideal hits\n" in str(measured)
    assert "1/2 50.0 % [" in str(measured)


MORE = [
    Group(["a1", "a2", "a3"], ["a4"]),
    Group(["b1", "b2"], ["b3", "b4"]),
    Group(["c1"], ["c2"]),
    Group(["d1", "d2"], []),
]
NUMBERS = [*questions_of(MORE)]


def test_all_pairs_inside_a_group_are_judged_but_two_near_misses() -> None:
    texts = [(stored.text, asked.text) for stored, asked in pairs_inside(NUMBERS)]
    first = [("a1", "a2"), ("a1", "a3"), ("a1", "a4"), ("a2", "a3"), ("a2", "a4"), ("a3", "a4")]
    second = [("b1", "b2"), ("b1", "b3"), ("b1", "b4"), ("b2", "b3"), ("b2", "b4")]
    assert texts == [*first, *second, ("c1", "c2"), ("d1", "d2")]


def test_the_nearest_wording_is_stored_for_as_many_rewordings_as_near_misses() -> None:
    degrees = np.deg2rad([0.0, 50.0, 20.0, 15.0, 0.0, 90.0, 80.0, 10.0, 0.0, 5.0, 0.0, 5.0])
    vectors = np.stack([np.cos(degrees), np.sin(degrees)], axis=1)
    texts = [(stored.text, asked.text) for stored, asked in nearest_pairs(NUMBERS, vectors)]
    assert texts == [
        ("a3", "a1"),
        ("a3", "a4"),
        ("b2", "b1"),
        ("b2", "b3"),
        ("b1", "b2"),
        ("b1", "b4"),
    ]


def test_the_benchmark_ships() -> None:
    groups = read_groups(BENCHMARK)
    questions = list(questions_of(groups))
    assert len(groups) == 286
    assert sum(question.is_wording for question in questions) == 1442
    assert all(len(group.wordings) > 1 and group.near for group in groups)
    assert BENCHMARK.stat().st_size < 100_000


def test_a_sample_is_always_the_same() -> None:
    groups = read_groups(BENCHMARK)
    assert sampled(groups, 5) == sampled(groups, 5)
    assert len(sampled(groups, 286)) == 286
    with pytest.raises(BadInput, match="there are 286 groups"):
        sampled(groups, 287)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({"near": []}, '"questions" must be a list of texts'),
        ({"questions": []}, '"questions" must be a list of texts'),
        ({"questions": ["a", 1]}, '"questions" must be a list of texts'),
        ({"questions": ["a", " "]}, '"questions" must be a list of texts'),
        ({"questions": ["a"], "near": "b"}, '"near" must be a list'),
        (
            {"questions": ["a"], "near": [{"q": 1}]},
            '"near" must contain texts, or objects with a text "q"',
        ),
    ],
)
def test_a_line_that_is_no_group_is_refused(tmp_path: Path, line: object, reason: str) -> None:
    path = tmp_path / "groups.jsonl"
    path.write_text(json.dumps({"questions": ["x"], "near": ["y"]}) + "\n" + json.dumps(line))
    with pytest.raises(BadInput) as refused:
        read_groups(path)
    assert str(refused.value).startswith(f"{path}: line 2: {reason}")
