import logging
from collections.abc import Sequence

import pytest

from app.judge import Credulous, Judge
from app.metrics import Metrics
from app.models import CacheKey, Neighbor, StoredResponse

ASKED = "How do I turn on 2FA?"
OPPOSITE = "How do I turn off 2FA?"
SAME = "How can I turn on 2FA?"


def neighbors(*texts: str | None) -> Sequence[Neighbor]:
    return [
        Neighbor(StoredResponse(CacheKey("p", f"d{index}", text), "m", b"{}", 0, 60), index / 100)
        for index, text in enumerate(texts)
    ]


def chosen(found: Neighbor | None) -> str | None:
    return found.stored.key.text if found else None


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], None),
        ([SAME], SAME),
        ([OPPOSITE], None),
        ([OPPOSITE, SAME, ASKED], SAME),
        ([None, SAME], SAME),
    ],
)
def test_the_first_that_no_guard_refuses_may_serve(
    texts: Sequence[str | None], expected: str | None
) -> None:
    judge = Judge(Metrics())
    for _ in range(2):
        assert chosen(judge.first(ASKED, neighbors(*texts))) == expected


def test_without_guards_the_nearest_may_serve() -> None:
    assert chosen(Credulous().first(ASKED, neighbors(OPPOSITE, SAME))) == OPPOSITE
    assert Credulous().first(ASKED, []) is None


def test_a_refusal_is_counted_and_told_without_content(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics()
    judge = Judge(metrics)
    with caplog.at_level(logging.DEBUG, "reprise.cache"):
        for _ in range(2):
            judge.first(ASKED, neighbors(OPPOSITE))
    assert caplog.messages == ["antonyms refuses entry d0, 0.0000 away"] * 2
    labels = {"guard": "antonyms"}
    assert metrics.registry.get_sample_value("reprise_refusals_total", labels) == 2
