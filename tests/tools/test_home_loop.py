"""Models in their own event loop."""

import asyncio

import pytest

from app.core.errors import CallFailed, DependencyFailed
from app.core.models import StoredText
from app.tools.home_loop import EmbedderAtHome, VerifierAtHome, home_loop
from tests.fakes import FakeEmbedder, FakeVerifier, embedding_of


def test_models_are_asked_in_one_loop_from_any() -> None:
    embedder, verifier = FakeEmbedder(), FakeVerifier()
    loops = []

    async def note() -> None:
        loops.append(asyncio.get_running_loop())

    embedder.before = verifier.before = note
    with home_loop() as home:
        for _ in range(2):
            embedding = asyncio.run(EmbedderAtHome(embedder, home).embed("one"))
            told = asyncio.run(VerifierAtHome(verifier, home).verify("a", [StoredText("b", 0.1)]))
        home.wait(embedder.aclose())
    assert embedding is not None
    assert embedding.tolist() == embedding_of("one").tolist()
    assert told == [1.0]
    assert len(loops) == 4
    assert len(set(loops)) == 1
    assert embedder.closed


def test_closing_leaves_the_models_to_their_owner() -> None:
    embedder, verifier = FakeEmbedder(), FakeVerifier()
    with home_loop() as home:
        asyncio.run(EmbedderAtHome(embedder, home).aclose())
        asyncio.run(VerifierAtHome(verifier, home).aclose())
    assert not embedder.closed
    assert not verifier.closed


def test_a_failure_is_told_in_one_line_that_names_the_model() -> None:
    embedder, verifier = FakeEmbedder(), FakeVerifier()

    async def fail() -> None:
        raise DependencyFailed("it answered with status 503")

    embedder.before = verifier.before = fail
    with home_loop() as home:
        with pytest.raises(CallFailed, match=r"^the embedder failed: it answered with status 503$"):
            asyncio.run(EmbedderAtHome(embedder, home).embed("one"))
        with pytest.raises(CallFailed, match=r"^the verifier failed: it answered with status 503$"):
            asyncio.run(VerifierAtHome(verifier, home).verify("a", [StoredText("b", 0.1)]))
