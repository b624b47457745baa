import numpy as np
import pytest

from app.errors import Declined, Overloaded, PartFailed, PartUnavailable
from app.metrics import Metrics
from app.models import Embedding
from app.parts import Budget, EmbedderPart
from tests.fakes import FakeEmbedder, embedding_of


def failures(metrics: Metrics) -> float | None:
    return metrics.registry.get_sample_value("reprise_failures_total", {"part": "embedder"})


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.mark.parametrize(
    "embedding",
    [
        np.ones(3, np.float32),
        np.ones((1, 8), np.float32),
        np.zeros(8, np.float32),
        np.full(8, np.nan, np.float32),
        np.full(8, np.inf, np.float32),
        "embedding",
    ],
)
async def test_an_embedder_that_answers_nonsense_is_unavailable(
    metrics: Metrics, embedding: Embedding
) -> None:
    embedder = FakeEmbedder()
    embedder.answer = lambda _: embedding
    with pytest.raises(PartUnavailable, match="embedder-unavailable"):
        await EmbedderPart(embedder, metrics).embed("text", Budget(0.01))
    assert failures(metrics) == 1


@pytest.mark.parametrize("reason", [Declined, Overloaded])
async def test_what_is_declined_is_no_failure(metrics: Metrics, reason: type[Declined]) -> None:
    embedder = FakeEmbedder()

    async def decline() -> None:
        raise reason

    embedder.before = decline
    part = EmbedderPart(embedder, metrics)
    for _ in range(20):
        with pytest.raises(PartUnavailable, match="embedder-unavailable"):
            await part.embed("text", Budget(1))
    assert not part.is_down
    assert failures(metrics) == 0


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RuntimeError("sk-secret"), "the embedder failed: RuntimeError"),
        (PartFailed("it answers 404"), "the embedder failed: it answers 404"),
    ],
)
async def test_a_failure_is_logged_with_what_may_be_told(
    metrics: Metrics, error: Exception, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    embedder = FakeEmbedder()

    async def fail() -> None:
        raise error

    embedder.before = fail
    with pytest.raises(PartUnavailable):
        await EmbedderPart(embedder, metrics).embed("text", Budget(1))
    assert [record.getMessage() for record in caplog.records] == [told]
    assert failures(metrics) == 1


async def test_an_embedding_comes_out_with_unit_length(metrics: Metrics) -> None:
    embedder = FakeEmbedder()
    embedder.answer = lambda _: np.full(8, 3.0, np.float32)
    embedding = await EmbedderPart(embedder, metrics).embed("text", Budget(0.01))
    assert embedding is not None
    assert np.linalg.norm(embedding) == pytest.approx(1)
    assert embedding.dtype == np.float32


async def test_a_text_without_embedding_is_no_failure(metrics: Metrics) -> None:
    embedder = FakeEmbedder()
    embedder.answer = lambda _: None
    assert await EmbedderPart(embedder, metrics).embed("text", Budget(0.01)) is None
    assert failures(metrics) == 0


async def test_a_text_that_was_embedded_lately_is_not_embedded_again(
    metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.parts._TEXTS_KNOWN", 2)
    embedder = FakeEmbedder()
    part = EmbedderPart(embedder, metrics)
    first = await part.embed("a", Budget(1))
    for text in ("b", "a", "c", "a", "b"):
        again = await part.embed(text, Budget(1))
    assert embedder.texts == ["a", "b", "c", "b"]
    assert await part.embed("a", Budget(1)) is first
    assert again is not None


async def test_what_could_not_be_embedded_is_tried_again(metrics: Metrics) -> None:
    embedder = FakeEmbedder()
    part = EmbedderPart(embedder, metrics)
    embedder.answer = lambda _: None
    assert await part.embed("a", Budget(1)) is None
    embedder.answer = lambda _: np.full(8, np.nan, np.float32)
    with pytest.raises(PartUnavailable):
        await part.embed("a", Budget(1))
    embedder.answer = embedding_of
    assert await part.embed("a", Budget(1)) is not None
    assert len(embedder.texts) == 3
