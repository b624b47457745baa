import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest

from app.core.models import Embedding
from app.inference.local_embedder import LocalEmbedder


@pytest.fixture
async def embedder() -> AsyncIterator[LocalEmbedder]:
    embedder = LocalEmbedder()
    yield embedder
    await embedder.aclose()


async def embed(embedder: LocalEmbedder, text: str) -> Embedding:
    embedding = await embedder.embed(text)
    assert embedding is not None
    return embedding


def distance(a: Embedding, b: Embedding) -> float:
    return 1 - float(a @ b)


async def test_meaning_is_nearer_than_other_subjects(embedder: LocalEmbedder) -> None:
    valkey = await embed(embedder, "What is Valkey?")
    same = await embed(embedder, "Can you explain what Valkey is?")
    pasta = await embed(embedder, "How do I cook pasta?")
    assert distance(valkey, same) == pytest.approx(0.04, abs=0.01)
    assert distance(valkey, pasta) > 0.8


async def test_an_embedding_has_the_promised_form(embedder: LocalEmbedder) -> None:
    embedding = await embed(embedder, "What is Valkey?")
    assert embedding.shape == (embedder.dimensions,) == (384,)
    assert embedding.dtype == np.float32
    assert np.linalg.norm(embedding) == pytest.approx(1, abs=1e-5)


async def test_a_text_has_one_embedding_whatever_runs_beside_it(embedder: LocalEmbedder) -> None:
    texts = ["What is Valkey?", "How do I cook pasta?", "a " * 200]
    alone = [await embed(embedder, text) for text in texts]
    for _ in range(5):
        together = await asyncio.gather(*(embed(embedder, text) for text in texts * 2))
        for index, embedding in enumerate(together):
            np.testing.assert_array_equal(embedding, alone[index % len(texts)])


@pytest.mark.parametrize(
    "text",
    [
        "word " * 255,
        "word " * 2000,
        "a" * 10_000,
        "如何重置我的密码",
        "How do I say 密码 in English?",
        "🤖",
        "x \u2209 A",
        "0.1 + 0.2 \u2260 0.3",
        "かぎ",
        "a\x01b",
        "a\x7fb",
        "a\ufffdb",
        "a\u1734b",
        "a\u200bb",
        "\u200b",
        "\u0301e",
    ],
)
async def test_a_text_that_cannot_be_represented_has_no_embedding(
    embedder: LocalEmbedder, text: str
) -> None:
    assert await embedder.embed(text) is None


@pytest.mark.parametrize("text", ["5 € a “quoted”…", "straße", "Où est le café ?", "a\tb\nc"])
async def test_a_text_of_characters_that_the_model_sees_has_one(
    embedder: LocalEmbedder, text: str
) -> None:
    assert await embedder.embed(text) is not None


async def test_accents_are_folded(embedder: LocalEmbedder) -> None:
    one, other = await embed(embedder, "café"), await embed(embedder, "cafe")
    np.testing.assert_array_equal(one, other)


async def test_a_text_that_fills_the_window_has_one(embedder: LocalEmbedder) -> None:
    assert await embedder.embed("word " * 254) is not None


async def test_what_looks_like_a_token_of_the_model_is_text(embedder: LocalEmbedder) -> None:
    shouted = await embed(embedder, "What does [SEP] mean to BERT?")
    np.testing.assert_array_equal(shouted, await embed(embedder, "What does [sep] mean to BERT?"))


async def test_embedding_leaves_the_event_loop_free(embedder: LocalEmbedder) -> None:
    embedding = asyncio.create_task(embedder.embed("word " * 254))
    turns = 0
    while not embedding.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 10
