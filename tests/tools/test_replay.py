"""Streams of requests, and how many hits of the whole proxy are right."""

import json
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from app.core.errors import BadInput
from app.core.models import Embedding
from app.tools.evaluate import Models, Scale
from app.tools.replay import Plan, Stream, read_stream, replay_stream
from app.tools.statistics import Report, Row, Share
from tests.fakes import FakeEmbedder, FakeProgress, FakeVerifier

DISTANCES = (0.05, 0.15, 0.3)


def spread(text: str) -> Embedding | None:
    """Embed a text near others with the same first word, at various distances; None for some."""
    if "strange" in text:
        return None
    topic, _, rest = text.partition(" ")
    seeds = [int.from_bytes(word.encode()[:8].ljust(8), "big") for word in (topic, rest)]
    one, other = (np.random.default_rng(seed).normal(size=8) for seed in seeds)
    return np.asarray(one + 0.4 * other, np.float32)


def write(path: Path, *lines: object) -> Path:
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def replay(stream: Stream, *distances: float) -> Report:
    embedder = FakeEmbedder()
    embedder.answer = spread
    return replay_stream(stream, Scale(distances), Models(embedder), FakeProgress())


def alone(report: Report) -> Sequence[Row]:
    """Return the rows for the rule that uses only the distance."""
    return [row for row in report.figures.rows if row["stage"] == "distance"]


def reference(questions: Sequence[Plan], max_distance: float) -> list[str | None]:
    """Serve a stream by distance alone: the nearest stored question answers if it is near enough.

    Return, for each question, the stored question that answers it, or None for a miss.
    """
    exact: dict[tuple[str, str], str] = {}
    rows: dict[str, list[Embedding]] = {}
    answers: dict[str, list[str]] = {}
    served: list[str | None] = []
    for question in questions:
        tenant = question.namespace
        answer = exact.get((tenant, question.prompt))
        vector = spread(question.prompt)
        if vector is not None:
            vector = vector / np.linalg.norm(vector)
        if answer is None and vector is not None and rows.get(tenant):
            distances = 1 - np.stack(rows[tenant]) @ vector
            nearest = int(np.argmin(distances))
            if distances[nearest] <= max_distance:
                answer = answers[tenant][nearest]
        served.append(answer)
        if answer is None:
            exact[tenant, question.prompt] = question.answer_id
            if vector is not None:
                rows.setdefault(tenant, []).append(vector)
                answers.setdefault(tenant, []).append(question.answer_id)
    return served


def made_up_stream(path: Path, *, tenants: Sequence[str]) -> Stream:
    """Write a file of near, far, repeated and strange questions, and read it as a stream."""
    draw = np.random.default_rng(7).choice
    rests = ["strange", *(f"{number} times" for number in range(25))]
    lines = []
    for topic in draw(["apple", "birch", "cedar", "daisy", "elder"], 300):
        answer_id = f"{topic} {draw(['now', 'then'])}"
        tenant = str(draw(list(tenants)))
        lines.append({"prompt": f"{topic} {draw(rests)}", "answer_id": answer_id, "ns": tenant})
    return read_stream(write(path, *lines))


@pytest.mark.parametrize("tenants", [[""], ["one", "two é"]])
def test_the_figures_are_those_of_the_rule_alone(tmp_path: Path, tenants: list[str]) -> None:
    stream = made_up_stream(tmp_path / "stream.jsonl", tenants=tenants)
    report = replay(stream, *DISTANCES)
    ideal = sum(question.is_ideal_hit for question in stream.counted)
    assert report.counts == {"requests": 300, "ideal_hits": ideal}
    for distance, row in zip(DISTANCES, alone(report), strict=True):
        served = reference(stream.counted, distance)
        hits = sum(answer is not None for answer in served)
        right = [
            question.is_ideal_hit
            for question, answer in zip(stream.counted, served, strict=True)
            if answer == question.answer_id
        ]
        assert 0 < len(right) < hits < 300
        assert row["distance"] == distance
        assert row["hit_rate"] == Share(hits, 300)
        assert row["wrong_among_hits"] == Share(hits - len(right), hits)
        assert row["ideal_hits_taken"] == Share(sum(right), ideal)
        assert row["right_per_request"] == Share(len(right), 300)
        assert isinstance(row["hit_latency_ms"], float)
        assert isinstance(row["miss_latency_ms"], float)


def test_guards_are_a_stage_of_their_own(tmp_path: Path) -> None:
    lines = [
        {"prompt": prompt, "answer_id": prompt} for prompt in ("Open 2 doors.", "Open 3 doors.")
    ]
    embedder = FakeEmbedder()
    embedder.answer = lambda _: np.ones(8, np.float32)
    stream = read_stream(write(tmp_path / "stream.jsonl", *lines))
    report = replay_stream(stream, Scale([0.1]), Models(embedder), FakeProgress())
    assert {row["stage"]: row["hit_rate"] for row in report.figures.rows} == {
        "distance": Share(1, 2),
        "guards": Share(0, 2),
    }


def test_the_verifier_is_a_stage_of_its_own_and_with_guards(tmp_path: Path) -> None:
    prompts = ("Open 2 doors.", "Open 3 doors.", "Close the window.", "Shut the window.")
    lines = [{"prompt": prompt, "answer_id": prompt[-7:]} for prompt in prompts]
    embedder, verifier = FakeEmbedder(), FakeVerifier()
    embedder.answer = lambda text: np.eye(8, dtype=np.float32)[int("window" in text)]
    verifier.answer = lambda text: 0.95 if "2" in text else 0.7
    stream = read_stream(write(tmp_path / "stream.jsonl", *lines))
    models = Models(embedder, verifier)
    report = replay_stream(stream, Scale([0.1], [0.01, 0.05]), models, FakeProgress())
    rows = {(row["stage"], row["error_rate"]): row["hit_rate"] for row in report.figures.rows}
    assert rows == {
        ("distance", None): Share(2, 4),
        ("guards", None): Share(1, 4),
        ("verifier", 0.01): Share(1, 4),
        ("verifier", 0.05): Share(2, 4),
        ("all", 0.01): Share(0, 4),
        ("all", 0.05): Share(1, 4),
    }
    assert not verifier.closed


def test_a_verbatim_repeat_hits_though_it_cannot_be_embedded(tmp_path: Path) -> None:
    line = {"prompt": "strange", "answer_id": "x"}
    report = replay(read_stream(write(tmp_path / "stream.jsonl", line, line)), 0.0)
    assert alone(report)[0]["hit_rate"] == Share(1, 2)
    assert alone(report)[0]["wrong_among_hits"] == Share(0, 1)


def test_tenants_share_nothing(tmp_path: Path) -> None:
    lines = [{"prompt": "apple", "answer_id": "x", "ns": ns} for ns in ("one", "two", "one")]
    report = replay(read_stream(write(tmp_path / "stream.jsonl", *lines)), 0.1)
    assert report.counts == {"requests": 3, "ideal_hits": 1}
    assert alone(report)[0]["hit_rate"] == Share(1, 3)


def test_every_origin_fills_the_cache_and_every_similar_counts(tmp_path: Path) -> None:
    stream = read_stream(
        write(
            tmp_path / "stream.jsonl",
            {"origin": "apple 1", "similar": "birch 1", "answer_id": "x"},
            {"origin": "birch 1", "similar": "apple 1", "answer_id": "x"},
            {"origin": "birch 2", "similar": "birch 1", "answer_id": "y"},
            {"origin": "cedar", "similar": "daisy", "answer_id": "z"},
        )
    )
    report = replay(stream, 0.0, 2.0)
    assert report.counts == {"requests": 4, "ideal_hits": 4}
    for row, hits, right in zip(alone(report), (3, 4), (2, 2), strict=True):
        assert row["hit_rate"] == Share(hits, 4)
        assert row["wrong_among_hits"] == Share(hits - right, hits)
        assert row["ideal_hits_taken"] == Share(right, 4)


def test_an_origin_is_stored_though_another_one_is_near(tmp_path: Path) -> None:
    stream = read_stream(
        write(
            tmp_path / "stream.jsonl",
            {"origin": "apple 1", "similar": "apple 1", "answer_id": "x"},
            {"origin": "apple 2", "similar": "apple 2", "answer_id": "y"},
        )
    )
    assert alone(replay(stream, 2.0))[0]["wrong_among_hits"] == Share(0, 2)


def test_the_stream_may_say_what_an_ideal_cache_would_hit(tmp_path: Path) -> None:
    stream = read_stream(
        write(
            tmp_path / "stream.jsonl",
            {"prompt": "one", "answer_id": "x"},
            {"prompt": "two", "answer_id": "x"},
            {"prompt": "three", "answer_id": "x", "expect": "miss"},
            {"prompt": "four", "answer_id": "y", "expect": "hit"},
        )
    )
    assert [question.is_ideal_hit for question in stream.counted] == [False, True, False, True]


def test_where_nothing_can_hit_nothing_does(tmp_path: Path) -> None:
    report = replay(read_stream(write(tmp_path / "s.jsonl", {"prompt": "a", "answer_id": "x"})), 2)
    assert alone(report) == [
        {
            "stage": "distance",
            "distance": 2,
            "error_rate": None,
            "hit_rate": Share(0, 1),
            "wrong_among_hits": Share(0, 0),
            "ideal_hits_taken": Share(0, 0),
            "right_per_request": Share(0, 1),
            "hit_latency_ms": None,
            "miss_latency_ms": alone(report)[0]["miss_latency_ms"],
        }
    ]


def test_each_text_is_embedded_once_whatever_the_distances(tmp_path: Path) -> None:
    lines = [{"prompt": prompt, "answer_id": "x"} for prompt in ("apple", "birch", "apple")]
    stream = read_stream(write(tmp_path / "stream.jsonl", *lines))
    embedder, progress = FakeEmbedder(), FakeProgress()
    before = threading.active_count()
    replay_stream(stream, Scale([0.1, 0.2]), Models(embedder), progress)
    assert sorted(embedder.texts) == ["apple", "birch"]
    assert not embedder.closed
    rules = ("distance, 0.1", "distance, 0.2", "guards, 0.1", "guards, 0.2")
    assert progress.seen == [
        (f"{stream.file}: embedding", 2, 2),
        *((f"{stream.file}: {rule}", 3, 3) for rule in rules),
    ]
    assert threading.active_count() == before


def test_a_part_of_the_cache_that_fails_stops_it(tmp_path: Path) -> None:
    stream = read_stream(write(tmp_path / "s.jsonl", {"prompt": "apple", "answer_id": "x"}))
    embedder = FakeEmbedder()
    embedder.answer = lambda _: np.zeros(8, np.float32)
    with pytest.raises(RuntimeError, match="embedder-unavailable"):
        replay_stream(stream, Scale([0.1]), Models(embedder), FakeProgress())


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({"prompt": "x"}, '"answer_id" must be a text'),
        ({"prompt": "x", "answer_id": 1}, '"answer_id" must be a text'),
        ({"prompt": "x", "answer_id": " "}, '"answer_id" must not be blank'),
        ({"answer_id": "x"}, '"prompt" must be a text'),
        ({"prompt": ["x"], "answer_id": "x"}, '"prompt" must be a text'),
        ({"prompt": "x", "answer_id": "x", "ns": 1}, '"ns" must be a text'),
        ({"prompt": "x", "answer_id": "x", "expect": True}, '"expect" must be a text'),
        ({"origin": "x", "answer_id": "x"}, '"similar" must be a text'),
        ({"origin": None, "similar": "x", "answer_id": "x"}, '"origin" must be a text'),
    ],
)
def test_a_line_that_is_no_request_is_refused(tmp_path: Path, line: object, reason: str) -> None:
    path = write(tmp_path / "stream.jsonl", {"prompt": "x", "answer_id": "x"}, line)
    with pytest.raises(BadInput) as refused:
        read_stream(path)
    assert str(refused.value) == f"{path}: line 2: {reason}"
