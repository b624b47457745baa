"""Each text is embedded only once."""

import asyncio

import pytest

from app.core.models import StoredText
from app.tools.memo import Memo, Remembered
from tests.fakes import FakeEmbedder, FakeVerifier, embedding_of


async def test_a_text_is_embedded_once() -> None:
    embedder = FakeEmbedder()
    memo = Memo(embedder)
    first, again = await memo.embed("one"), await memo.embed("one")
    assert first is not None
    assert again is first
    assert first.tolist() == embedding_of("one").tolist()
    assert embedder.texts == ["one"]


async def test_that_a_text_cannot_be_embedded_is_remembered_too() -> None:
    embedder = FakeEmbedder()
    embedder.answer = lambda _: None
    memo = Memo(embedder)
    assert [await memo.embed("one"), await memo.embed("one")] == [None, None]
    assert embedder.texts == ["one"]


async def test_what_was_learnt_is_known() -> None:
    embedder = FakeEmbedder()
    memo = Memo(embedder)
    steps: list[None] = []
    await memo.learn(["one", "two", "three"], lambda: steps.append(None))
    await memo.embed("two")
    assert sorted(embedder.texts) == ["one", "three", "two"]
    assert len(steps) == 3


async def test_learning_stops_at_a_failure() -> None:
    embedder = FakeEmbedder()

    async def fail() -> None:
        await asyncio.sleep(0)
        raise ConnectionResetError

    embedder.before = fail
    with pytest.raises(ConnectionResetError):
        await Memo(embedder).learn(map(str, range(1000)), lambda: None)
    assert len(embedder.texts) < 1000


async def test_closing_leaves_the_embedder_to_its_owner() -> None:
    embedder = FakeEmbedder()
    memo = Memo(embedder)
    await memo.aclose()
    assert not embedder.closed
    assert (memo.name, memo.dimensions) == (embedder.name, embedder.dimensions)


async def test_two_texts_are_verified_once_however_far_apart_they_are_said_to_be() -> None:
    verifier = FakeVerifier()
    verifier.answer = lambda text: 0.25 if text == "one" else 0.75
    memo = Remembered(verifier)
    one, two, again = StoredText("one", 0.1), StoredText("two", 0.2), StoredText("one", 0.1000001)
    assert await memo.verify("asked", [one]) == [0.25]
    assert await memo.verify("asked", [two, again]) == [0.75, 0.25]
    assert await memo.verify("other", [one]) == [0.25]
    assert verifier.asked == [("asked", [one]), ("asked", [two]), ("other", [one])]
    await memo.aclose()
    assert not verifier.closed
