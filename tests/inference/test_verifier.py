"""The verifier that ships."""

import asyncio
import os
from collections.abc import AsyncIterator

import pytest

from app.core.models import StoredText
from app.inference.local_embedder import LocalEncoder
from app.inference.verifier import CrossEncoder, LocalVerifier, Ruler, load_verifier


@pytest.fixture(scope="module")
def network() -> CrossEncoder:
    return CrossEncoder()


@pytest.fixture
async def verifier() -> AsyncIterator[LocalVerifier]:
    verifier = load_verifier("all-MiniLM-L6-v2")
    yield verifier
    await verifier.aclose()


@pytest.mark.parametrize(
    ("asked", "same", "other"),
    [
        ("What is Valkey?", "Can you explain what Valkey is?", "What is not Valkey?"),
        (
            "show me flights from paris to rome",
            "Please show me flights from Paris to Rome",
            "show me flights from rome to paris",
        ),
        (
            "How do I reset my password?",
            "how can i reset my password",
            "How do I reset my username?",
        ),
        (
            "Is it safe to eat raw eggs?",
            "Is eating raw eggs safe?",
            "Is it safe to eat raw chicken?",
        ),
    ],
)
async def test_what_means_the_same_is_let_pass_and_what_looks_the_same_is_not(
    verifier: LocalVerifier, asked: str, same: str, other: str
) -> None:
    candidates = [StoredText(same, 0.1), StoredText(other, 0.2)]
    likely, unlikely = await verifier.verify(asked, candidates)
    # Processors without int8 instructions round otherwise: one pair is just below that of 0.05.
    assert likely > verifier.calibration.threshold(0.1)
    assert verifier.calibration.threshold(0.05) > unlikely


async def test_a_probability_does_not_depend_on_what_is_verified_beside_it(
    verifier: LocalVerifier,
) -> None:
    candidates = [
        StoredText(text, 0.2) for text in ("What is Redis?", "Who is Val Key?", "a " * 90)
    ]
    alone = [(await verifier.verify("What is Valkey?", [c]))[0] for c in candidates]
    at_once = os.cpu_count() or 1  # with more, the last would find too long a queue
    together = await asyncio.gather(
        *(verifier.verify("What is Valkey?", candidates) for _ in range(at_once))
    )
    assert together == [alone] * at_once


@pytest.mark.parametrize(
    "text",
    ["word " * 253, "word " * 3000, "如何重置我的密码", "is 2 \u2260 3", "a\x01b"],
)
async def test_what_the_model_does_not_see_is_never_served(
    verifier: LocalVerifier, text: str
) -> None:
    assert await verifier.verify("What?", [StoredText(text, 0.0)]) == [0.0]
    assert await verifier.verify(text, [StoredText("What?", 0.0)]) == [0.0]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is Valkey?", "Can you explain what Valkey is?"),
        ("Is it safe to eat raw eggs?", "Is eating raw eggs safe?"),
    ],
)
async def test_a_likely_pair_is_read_in_both_orders(
    verifier: LocalVerifier, one: str, other: str
) -> None:
    there = await verifier.verify(one, [StoredText(other, 0.1)])
    assert there == await verifier.verify(other, [StoredText(one, 0.1)])


def test_texts_that_fill_the_window_are_read(network: CrossEncoder) -> None:
    assert network.logit("word " * 125, "word " * 127) is not None
    assert network.logit("word " * 125, "word " * 128) is None


def test_a_text_does_not_end_where_it_names_a_mark(network: CrossEncoder) -> None:
    assert network.logit("a", "b [SEP] c") == network.logit("a", "b [ sep ] c")


async def test_verifying_leaves_the_event_loop_free(verifier: LocalVerifier) -> None:
    candidates = [StoredText("word " * 120, 0.1)] * 4
    verifying = asyncio.create_task(verifier.verify("word " * 120, candidates))
    turns = 0
    while not verifying.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 10


async def test_whoever_finds_a_candidate_its_probability_is_the_same(
    verifier: LocalVerifier,
) -> None:
    asked, found = "How do I reset my password?", "how can i reset my password"
    distance = Ruler(LocalEncoder()).distance(asked, found)
    assert distance is not None
    assert 0.01 < distance < 0.05
    other = load_verifier("text-embedding-3-small")
    told = await other.verify(asked, [StoredText(found, 0.6), StoredText("I like pasta", 0.01)])
    await other.aclose()
    assert told == [*(await verifier.verify(asked, [StoredText(found, distance)])), 0.0]
    assert told[0] > other.calibration.threshold(0.01)


async def test_what_is_far_or_not_seen_whole_by_the_shipped_embedder_is_not_served() -> None:
    other = load_verifier("text-embedding-3-small")
    texts = ["How do I cook pasta?", "word " * 300, "is 2 \u2260 3"]
    assert await other.verify("What is Valkey?", [StoredText(t, 0.0) for t in texts]) == [0.0] * 3
    await other.aclose()


async def test_what_was_measured_can_be_dialled(verifier: LocalVerifier) -> None:
    calibration = verifier.calibration
    thresholds = [calibration.threshold(rate) for rate in (0.01, 0.02, 0.05)]
    assert 1 > thresholds[0] >= thresholds[1] >= thresholds[2] > 0.3
    assert 0.5 <= calibration.max_distance <= 0.6
