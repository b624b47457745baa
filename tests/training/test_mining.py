"""What training mines from streams, and where calibration draws the line: without PyTorch."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from app.core.calibration import Calibration
from training.calibrate import Measured, fit, join, served, tell
from training.mine import LEARNT, Mine, open_mine
from training.pairs import Labelled, draw

EVERYTHING = (0.0, 1.0)


def mine(*questions: tuple[str, str, str, float]) -> Mine:
    """Make a mine of questions: text, answer, tenant, and degrees on a circle."""
    angles = np.deg2rad([angle for *_, angle in questions])
    return Mine(
        "mined:stream",
        [text for text, *_ in questions],
        [answer for _, answer, *_ in questions],
        np.array([tenant for _, _, tenant, _ in questions]),
        np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32),
    )


def of(pairs: list[Labelled]) -> set[tuple[str, str, bool]]:
    return {(pair.a, pair.b, pair.same) for pair in pairs}


def test_a_question_is_compared_with_what_a_cache_would_have_stored() -> None:
    found = mine(
        ("first", "x", "", 0),
        ("near, so answered", "x", "", 20),
        ("near what was not stored", "x", "", 43),
        ("far away", "y", "", 180),
    ).candidates(EVERYTHING, ())
    assert of(found) == {
        ("near, so answered", "first", True),
        ("near what was not stored", "first", True),
    }


def test_no_tenant_is_answered_from_another_s() -> None:
    questions = (("first", "x", "a", 0), ("second", "x", "b", 5), ("third", "y", "b", 30))
    assert of(mine(*questions).candidates(EVERYTHING, ())) == {("third", "second", False)}
    assert of(mine(*questions).nearest_of_either(EVERYTHING, ())) == {("second", "third", False)}


def test_what_is_not_learnt_from_is_held_back() -> None:
    questions = mine(*((f"{at}", f"answer {at}", "", at) for at in range(40)))
    held_back = questions.held_back()
    assert held_back
    learnt = of(questions.nearest_of_either(LEARNT, ()))
    assert learnt
    assert not {text for one, other, _ in learnt for text in (one, other)} & set(held_back)


def test_only_a_share_of_the_answers_is_asked_but_all_are_stored() -> None:
    share = (draw("y"), draw("y") + 1e-9)
    found = mine(("first", "x", "", 0), ("second", "y", "", 30), ("third", "x", "", 60))
    assert of(found.candidates(share, ())) == {("second", "first", False)}
    assert not found.candidates(share, {"second"})
    assert not found.nearest_of_either(share, ())


def test_a_stream_is_read_in_either_form(tmp_path: Path) -> None:
    lines = (
        {"prompt": "What is Valkey?", "answer_id": "v", "ns": "a"},
        {"origin": "How do I cook pasta?", "similar": "How can I cook pasta?", "answer_id": "p"},
    )
    (tmp_path / "stream.jsonl").write_text("\n".join(map(json.dumps, lines)))
    found = open_mine(tmp_path / "stream.jsonl")
    assert found.source == "mined:stream"
    assert list(found.keys) == ["v", "p", "p"]
    assert list(found.tenants) == ["a", "", ""]
    assert found.vectors.shape == (3, 384)


def measured(**wrong: Sequence[int]) -> Measured:
    """Make sources of 400 questions each, likeliest first; those at these places are wrong."""
    places = np.tile(np.arange(400), len(wrong))
    source = np.repeat(list(wrong), 400)
    same = [at < 300 and at not in wrong[name] for at, name in zip(places, source, strict=True)]
    return Measured(
        source=source,
        asked=np.arange(len(places)),
        same=np.array(same),
        logit=4.0 - places / 50,
        distance=np.full(len(places), 0.1),
        passing=np.ones(len(places), bool),
        open=np.ones(len(places), bool),
    )


def hits(calibration: Calibration, rate: float) -> int:
    """Count the questions of a source that are served."""
    least = calibration.threshold(rate)
    return sum(calibration.probability(4.0 - at / 50, 0.1) >= least for at in range(400))


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"easy": ()}, 303),
        ({"easy": (), "hard": (10, 20, 30)}, 301),
        ({"easy": (), "hard": range(0, 200, 10)}, 0),
        ({"easy": (), "never": range(400)}, 0),
    ],
)
def test_the_source_with_most_wrong_hits_draws_the_line(
    wrong: dict[str, Sequence[int]], expected: int
) -> None:
    assert hits(fit(measured(**wrong)), 0.01) == expected


def test_a_larger_share_of_wrong_hits_is_served_more() -> None:
    calibration = fit(measured(one=(40, 90, 170), other=(200,)))
    counts = [hits(calibration, rate) for rate in (0.01, 0.02, 0.05)]
    assert counts == sorted(counts)
    assert counts[0] < counts[2]


def test_a_source_that_may_well_have_more_wrong_hits_is_served_less() -> None:
    # 6 of 300 are 2 %, which at a confidence of 95 % might be 1 %.
    assert 0 < hits(fit(measured(easy=(), hard=range(40, 300, 50))), 0.01) < 240


def test_either_half_is_told_by_a_calibration_of_its_own() -> None:
    halves = measured(one=()), measured(one=())
    nothing, everything = (Calibration([1.0, 0.0], 0.3, [(0.01, line)]) for line in (1.1, 0.0))
    told = tell(halves, [nothing, everything])
    assert not told.served[0.01][:400].any()
    assert told.served[0.01][400:].all()


def test_questions_of_two_halves_stay_apart() -> None:
    half = measured(one=())
    assert len(set(join(half, half).asked)) == 800
    told = tell([half, half], [fit(half), fit(half)])
    assert " one 800 " in " ".join(served(told).split())
