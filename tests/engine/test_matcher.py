import logging
import statistics
import threading
import time
from collections.abc import Iterable, Iterator, Sequence

import pytest

from app.core.errors import DependencyUnavailable
from app.core.metrics import Metrics
from app.core.models import CacheKey, Candidate, Guard, StoredResponse, Verdict
from app.engine.matcher import Choice, Guards, Matcher, VerifierThreshold
from app.engine.resilience import ResilientVerifier
from tests.fakes import FakeVerifier

ASKED = "How do I turn on 2FA?"
OPPOSITE = "How do I turn off 2FA?"
SAME = "How can I turn on 2FA?"
OTHER = "May I turn on 2FA?"


def candidates(*texts: str | None) -> Sequence[Candidate]:
    return [
        Candidate(StoredResponse(CacheKey("p", f"d{index}", text), "m", b"{}", 0, 60), index / 100)
        for index, text in enumerate(texts)
    ]


def chosen(choice: Choice) -> str | None:
    return choice.chosen.stored.key.text if choice.chosen else None


def verifying(
    verifier: FakeVerifier, metrics: Metrics, *, guards: bool = False, least: float = 0.9
) -> Matcher:
    part = ResilientVerifier(verifier, 1, metrics)
    return Matcher(metrics, Guards() if guards else None, VerifierThreshold(part, least))


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
async def test_the_first_that_no_guard_refuses_may_serve(
    texts: Sequence[str | None], expected: str | None
) -> None:
    judge = Matcher(Metrics(), Guards())
    for _ in range(2):
        assert chosen(await judge.choose(ASKED, candidates(*texts))) == expected


async def test_without_guards_the_nearest_may_serve() -> None:
    assert chosen(await Matcher(Metrics()).choose(ASKED, candidates(OPPOSITE, SAME))) == OPPOSITE
    assert await Matcher(Metrics()).choose(ASKED, []) == Choice(None, [])


async def test_a_refusal_is_counted_and_told_without_content(
    caplog: pytest.LogCaptureFixture,
) -> None:
    metrics = Metrics()
    judge = Matcher(metrics, Guards())
    with caplog.at_level(logging.DEBUG, "reprise.cache"):
        for _ in range(2):
            await judge.choose(ASKED, candidates(OPPOSITE))
    assert caplog.messages == ["antonyms refuses entry d0, 0.0000 away (probability None)"] * 2
    labels = {"guard": "antonyms"}
    assert metrics.registry.get_sample_value("reprise_refusals_total", labels) == 2


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"one": 0.95, "two": 0.1, "three": 0.1}, "one"),
        ({"one": 0.9, "two": 0.1, "three": 0.95}, "three"),
        ({"one": 0.95, "two": 0.95, "three": 0.1}, "one"),
        ({"one": 0.1, "two": 0.89, "three": 0.5}, None),
    ],
)
async def test_the_likeliest_of_the_nearest_three_is_chosen(
    told: dict[str, float], expected: str | None
) -> None:
    verifier = FakeVerifier()
    verifier.answer = told.__getitem__
    judge = verifying(verifier, Metrics())
    found = candidates("one", "two", "three", "four")
    assert chosen(await judge.choose("asked", found)) == expected
    assert [[c.text for c in asked] for _, asked in verifier.asked] == [[*told]]


async def test_what_a_guard_refuses_is_not_verified() -> None:
    verifier = FakeVerifier()
    judge = verifying(verifier, Metrics(), guards=True)
    assert chosen(await judge.choose(ASKED, candidates(OPPOSITE, SAME))) == SAME
    assert [[c.text for c in candidates] for _, candidates in verifier.asked] == [[SAME]]


async def test_an_entry_without_text_is_not_verified() -> None:
    verifier = FakeVerifier()
    assert chosen(await verifying(verifier, Metrics()).choose(ASKED, candidates(None))) is None
    assert verifier.asked == []


async def test_what_no_score_makes_likely_enough_is_refused_unread() -> None:
    verifier, metrics = FakeVerifier(), Metrics()
    highest = {0.0: 0.95, 0.01: 0.9, 0.02: 0.89}
    part = ResilientVerifier(verifier, 1, metrics)
    judge = Matcher(metrics, None, VerifierThreshold(part, 0.9, lambda far, _lengths: highest[far]))
    verifier.answer = {"one": 0.5, "two": 0.9}.__getitem__
    found = candidates("one", "two", "three")
    assert await judge.choose("asked", found) == Choice(
        found[1],
        [
            Verdict(found[2], "verifier"),
            Verdict(found[0], "verifier", 0.5),
            Verdict(found[1], None, 0.9),
        ],
    )
    assert [[c.text for c in asked] for _, asked in verifier.asked] == [["one", "two"]]


async def test_a_refusal_by_the_verifier_is_counted_and_told_without_content(
    caplog: pytest.LogCaptureFixture,
) -> None:
    metrics, verifier = Metrics(), FakeVerifier()
    verifier.answer = lambda _: 0.25
    with caplog.at_level(logging.DEBUG, "reprise.cache"):
        await verifying(verifier, metrics).choose(ASKED, candidates(SAME))
    assert caplog.messages == ["verifier refuses entry d0, 0.0000 away (probability 0.25)"]
    labels = {"guard": "verifier"}
    assert metrics.registry.get_sample_value("reprise_refusals_total", labels) == 1


async def test_a_choice_tells_what_is_thought_of_each() -> None:
    verifier = FakeVerifier()
    verifier.answer = {SAME: 0.95, OTHER: 0.5}.__getitem__
    found = candidates(OPPOSITE, OTHER, SAME)
    choice = await verifying(verifier, Metrics(), guards=True).choose(ASKED, found)
    assert choice == Choice(
        found[2],
        [
            Verdict(found[0], Guard.ANTONYMS),
            Verdict(found[1], "verifier", 0.5),
            Verdict(found[2], None, 0.95),
        ],
    )


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ("Can I turn on 2FA in 3 steps?", []),
        ("Can I turn off 2FA in 3 steps?", [Guard.ANTONYMS]),
        ("Can I turn off 2FA in 4 steps?", [Guard.NUMBERS, Guard.ANTONYMS]),
    ],
)
def test_all_guards_that_refuse_are_told_the_one_that_decides_first(
    stored: str, expected: Sequence[Guard]
) -> None:
    asked = "Can I turn on 2FA in 3 steps?"
    assert list(Matcher(Metrics(), Guards()).all_refusing(asked, stored)) == expected
    assert Matcher(Metrics()).all_refusing(asked, stored) == ()


async def test_a_verifier_that_fails_chooses_nobody() -> None:
    verifier = FakeVerifier()

    async def fail() -> None:
        raise RuntimeError

    verifier.before = fail
    judge = verifying(verifier, Metrics())
    for _ in range(5):
        with pytest.raises(DependencyUnavailable, match="verifier-unavailable"):
            await judge.choose(ASKED, candidates(SAME))
    assert judge.is_down
    assert not Matcher(Metrics()).is_down


async def test_closing_closes_the_verifier() -> None:
    verifier = FakeVerifier()
    await Matcher(Metrics()).aclose()
    await verifying(verifier, Metrics()).aclose()
    assert verifier.closed


@pytest.mark.parametrize(("times", "is_aside"), [(1, False), (2000, True)])
async def test_guards_read_long_texts_beside_the_event_loop(times: int, is_aside: bool) -> None:
    noted: list[int] = []

    class Noting(Guards):
        def verdicts(self, asked: str, candidates: Iterable[Candidate]) -> Iterator[Verdict]:
            for verdict in super().verdicts(asked, candidates):
                noted.append(threading.get_ident())
                yield verdict

    asked, opposite = (" ".join([text] * times) for text in (ASKED, OPPOSITE))
    found = await Matcher(Metrics(), Noting()).choose(asked, candidates(opposite, opposite))
    assert found.chosen is None
    assert [thread != threading.get_ident() for thread in noted] == [is_aside, is_aside]


async def test_without_a_verifier_the_first_that_passes_is_the_last_that_is_judged() -> None:
    metrics, near = Metrics(), candidates(OPPOSITE, SAME, OPPOSITE)
    assert chosen(await Matcher(metrics, Guards()).choose(ASKED, near)) == SAME
    value = metrics.registry.get_sample_value("reprise_refusals_total", {"guard": "antonyms"})
    assert value == 1


def test_what_one_partition_asked_is_judged_again_for_another() -> None:
    """Else its speed tells what others ask: thousands of words are read, not just recalled."""
    guards = Guards()
    took: dict[str, list[float]] = {"first": [], "second": [], "again": []}
    for number in range(10):
        asked, stored = (f"{text} {number}. " * 100 for text in (ASKED, OPPOSITE))
        for name, partition in (("first", "p"), ("second", "q"), ("again", "q")):
            key = CacheKey(partition, "d", stored)
            begin = time.thread_time()
            list(guards.verdicts(asked, [Candidate(StoredResponse(key, "m", b"{}", 0, 60), 0.1)]))
            took[name].append(time.thread_time() - begin)
    first, second, again = map(statistics.median, took.values())
    assert second > first / 2 > again
