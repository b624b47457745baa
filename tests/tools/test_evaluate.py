"""Labelled pairs, and which of them would be hits."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.core.errors import BadInput
from app.core.models import Embedding
from app.tools.evaluate import Models, Scale, evaluate_pairs, read_pairs
from app.tools.statistics import Report, Share
from tests.fakes import FakeEmbedder, FakeProgress, FakeVerifier

ANGLES = {"north": 0, "nearly north": 20, "north-east": 45, "east": 90, "south": 180}


def compass(text: str) -> Embedding | None:
    """Embed a direction; return None for any other text. The vector's length must not matter."""
    if text not in ANGLES:
        return None
    angle = np.deg2rad(ANGLES[text])
    return np.array([3 * np.cos(angle), 3 * np.sin(angle), 0, 0, 0, 0, 0, 0], np.float32)


def write(path: Path, *lines: object) -> Path:
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def pair(a: object, b: object, same: object, **extra: object) -> dict[str, object]:
    return {"a": a, "b": b, "same": same, **extra}


def turns(*texts: str) -> list[dict[str, str]]:
    roles = ["user", "assistant"] * len(texts)
    return [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]


def evaluate(path: Path, *distances: float) -> Report:
    embedder = FakeEmbedder()
    embedder.answer = compass
    return evaluate_pairs(read_pairs(path), Scale(distances), Models(embedder), FakeProgress())


def test_what_is_served_is_counted_by_stage_and_distance(tmp_path: Path) -> None:
    path = write(
        tmp_path / "pairs.jsonl",
        pair("north", "nearly north", 1, source="ignored"),  # 0.06 apart
        pair("north", "north-east", 1),  # 0.29
        pair("north", "east", True),  # 1
        pair("east", "north-east", 0),  # 0.29
        pair("north", "south", False),  # 2
    )
    report = evaluate(path, 0.05, 0.1, 0.3)
    assert report.file == str(path)
    assert report.counts == {"pairs": 5, "positives": 3}
    assert [row for row in report.figures.rows if row["stage"] == "distance"] == [
        {
            "stage": "distance",
            "distance": distance,
            "error_rate": None,
            "recall": Share(right, 3),
            "negatives_served": Share(wrong, 2),
            "wrong_among_served": Share(wrong, right + wrong),
        }
        for distance, right, wrong in [(0.05, 0, 0), (0.1, 1, 0), (0.3, 2, 1)]
    ]


@pytest.mark.parametrize(
    ("a", "b", "served"),
    [
        ("north", "north", True),
        ("north", turns("north"), True),
        (turns("east", "Yes.", "north"), turns("east", "Yes.", "nearly north"), True),
        (turns("east", "Yes.", "north"), turns("east", "No.", "north"), False),
        (turns("east", "Yes.", "north"), "north", False),
        (turns("north", "Yes."), turns("north", "Yes."), True),
        (turns("north", "Yes."), turns("nearly north", "Yes."), False),
        ("unknown", "north", False),
        ("unknown", "unheard of", False),
        ("unknown", "unknown", True),
        ("", " ", False),
    ],
)
def test_a_pair_is_served_as_the_proxy_would(tmp_path: Path, a: Any, b: Any, served: bool) -> None:
    report = evaluate(write(tmp_path / "pairs.jsonl", pair(a, b, 1)), 0.1)
    assert report.figures.rows[0]["recall"] == Share(int(served), 1)


def test_the_same_question_is_served_at_no_distance(tmp_path: Path) -> None:
    path = write(tmp_path / "pairs.jsonl", pair("north", "north", 1), pair("north", "east", 0))
    assert evaluate(path, 0.0).figures.rows[0]["recall"] == Share(1, 1)


def test_each_text_is_embedded_once_and_counts_as_a_step(tmp_path: Path) -> None:
    path = write(tmp_path / "pairs.jsonl", pair("north", "east", 1), pair("east", "south", 0))
    embedder, progress = FakeEmbedder(), FakeProgress()
    evaluate_pairs(read_pairs(path), Scale([0.1, 0.2]), Models(embedder), progress)
    assert sorted(embedder.texts) == ["east", "north", "south"]
    assert progress.seen == [(str(path), 3, 3)]


PAIRS = [
    pair("turn on the light", "turn off the light", 0),
    pair("turn on the light", "turn the light on", 1),
    pair("open 2 doors", "open 3 doors", 1),  # as somebody has labelled it
    pair("open 2 doors", "open two doors", 1),
]


def test_guards_are_a_stage_of_their_own(tmp_path: Path) -> None:
    embedder = FakeEmbedder()
    embedder.answer = lambda _: np.ones(8, np.float32)
    pairs = read_pairs(write(tmp_path / "pairs.jsonl", *PAIRS))
    report = evaluate_pairs(pairs, Scale([0.1, 0.2]), Models(embedder), FakeProgress(), show=3)
    rows = {(row["stage"], row["distance"]): row for row in report.figures.rows}
    assert rows["distance", 0.1]["negatives_served"] == Share(1, 1)
    assert rows["guards", 0.1]["negatives_served"] == Share(0, 1)
    assert rows["guards", 0.2]["recall"] == Share(2, 3)
    assert report.guards is not None
    assert report.guards.rows == [
        {"guard": "numbers", "fired": 1, "rightly": Share(0, 1)},
        {"guard": "antonyms", "fired": 1, "rightly": Share(1, 1)},
    ]
    assert report.examples == [
        "wrongly refused by numbers, distance 0.0000: 'open 2 doors' / 'open 3 doors'"
    ]


def test_the_verifier_is_a_stage_of_its_own_and_with_guards(tmp_path: Path) -> None:
    embedder, verifier = FakeEmbedder(), FakeVerifier()
    embedder.answer = lambda _: np.ones(8, np.float32)
    told = {"turn off the light": 0.95, "turn the light on": 0.95, "open 3 doors": 0.7}
    verifier.answer = lambda text: told.get(text, 0.5)
    pairs = read_pairs(
        write(
            tmp_path / "pairs.jsonl",
            *(pair(line["b"], line["a"], line["same"]) for line in PAIRS),
            pair("open the door", "open the door", 1),
        )
    )
    models = Models(embedder, verifier)
    report = evaluate_pairs(pairs, Scale([0.1], [0.001, 0.01, 0.05]), models, FakeProgress())
    rows = {(row["stage"], row["error_rate"]): row for row in report.figures.rows}
    assert {row["distance"] for row in rows.values()} == {0.1, 0.4}
    assert rows["verifier", 0.001]["recall"] == Share(1, 4)  # the very same question
    assert rows["verifier", 0.01]["recall"] == Share(2, 4)
    assert rows["verifier", 0.01]["negatives_served"] == Share(1, 1)
    assert rows["verifier", 0.05]["recall"] == Share(3, 4)
    assert rows["all", 0.01]["recall"] == Share(2, 4)
    assert rows["all", 0.01]["negatives_served"] == Share(0, 1)
    assert len(verifier.asked) == 4


def test_what_is_too_far_away_is_not_verified(tmp_path: Path) -> None:
    embedder, verifier = FakeEmbedder(), FakeVerifier()
    embedder.answer = compass
    path = write(tmp_path / "pairs.jsonl", pair("north", "north-east", 1), pair("north", "east", 1))
    models = Models(embedder, verifier)
    report = evaluate_pairs(read_pairs(path), Scale([0.1], [0.01]), models, FakeProgress())
    assert report.figures.rows[-1]["recall"] == Share(1, 2)
    assert [asked for asked, _ in verifier.asked] == ["north-east"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({"a": "x", "b": "y"}, '"same" must be 0 or 1, false or true'),
        (pair("x", "y", "1"), '"same" must be 0 or 1, false or true'),
        (pair("x", "y", 2), '"same" must be 0 or 1, false or true'),
        (pair("x", "y", [1]), '"same" must be 0 or 1, false or true'),
        (pair("x", None, 1), '"b" must be a text or a list of chat messages'),
        (pair(7, "y", 1), '"a" must be a text or a list of chat messages'),
        (pair([], "y", 1), '"a" must be a text or a list of chat messages'),
        (pair(["x"], "y", 1), '"a" must be a text or a list of chat messages'),
    ],
)
def test_a_line_that_is_no_pair_is_refused(tmp_path: Path, line: object, reason: str) -> None:
    path = write(tmp_path / "pairs.jsonl", pair("x", "y", 1), line)
    with pytest.raises(BadInput) as refused:
        read_pairs(path)
    assert str(refused.value) == f"{path}: line 2: {reason}"
