from collections.abc import Sequence

import numpy as np
import pytest

from app.core.errors import Declined, DependencyFailed, DependencyUnavailable, Overloaded
from app.core.metrics import Metrics
from app.core.models import Embedding, StoredText
from app.engine.resilience import Budget, ResilientEmbedder, ResilientVerifier
from tests.fakes import FakeEmbedder, FakeVerifier, embedding_of, hang


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
    with pytest.raises(DependencyUnavailable, match="embedder-unavailable"):
        await ResilientEmbedder(embedder, metrics).embed("p", "text", Budget(0.01))
    assert failures(metrics) == 1


@pytest.mark.parametrize("reason", [Declined, Overloaded])
async def test_what_is_declined_is_no_failure(metrics: Metrics, reason: type[Declined]) -> None:
    embedder = FakeEmbedder()

    async def decline() -> None:
        raise reason

    embedder.before = decline
    part = ResilientEmbedder(embedder, metrics)
    for _ in range(20):
        with pytest.raises(DependencyUnavailable, match="embedder-unavailable"):
            await part.embed("p", "text", Budget(1))
    assert not part.is_down
    assert failures(metrics) == 0


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RuntimeError("sk-secret"), "the embedder failed: RuntimeError"),
        (
            DependencyFailed("it answered with status 404"),
            "the embedder failed: it answered with status 404",
        ),
    ],
)
async def test_a_failure_is_logged_with_what_may_be_told(
    metrics: Metrics, error: Exception, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    embedder = FakeEmbedder()

    async def fail() -> None:
        raise error

    embedder.before = fail
    with pytest.raises(DependencyUnavailable):
        await ResilientEmbedder(embedder, metrics).embed("p", "text", Budget(1))
    assert [record.getMessage() for record in caplog.records] == [told]
    assert failures(metrics) == 1


async def test_an_embedding_comes_out_with_unit_length(metrics: Metrics) -> None:
    embedder = FakeEmbedder()
    embedder.answer = lambda _: np.full(8, 3.0, np.float32)
    embedding = await ResilientEmbedder(embedder, metrics).embed("p", "text", Budget(0.01))
    assert embedding is not None
    assert np.linalg.norm(embedding) == pytest.approx(1)
    assert embedding.dtype == np.float32


async def test_a_text_without_embedding_is_no_failure(metrics: Metrics) -> None:
    embedder = FakeEmbedder()
    embedder.answer = lambda _: None
    assert await ResilientEmbedder(embedder, metrics).embed("p", "text", Budget(0.01)) is None
    assert failures(metrics) == 0


async def test_a_text_that_was_embedded_lately_is_not_embedded_again(
    metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.engine.resilience._TEXTS_KNOWN", 2)
    embedder = FakeEmbedder()
    part = ResilientEmbedder(embedder, metrics)
    first = await part.embed("p", "a", Budget(1))
    for text in ("b", "a", "c", "a", "b"):
        again = await part.embed("p", text, Budget(1))
    assert embedder.texts == ["a", "b", "c", "b"]
    assert await part.embed("p", "a", Budget(1)) is first
    assert again is not None


async def test_what_could_not_be_embedded_is_tried_again(metrics: Metrics) -> None:
    embedder = FakeEmbedder()
    part = ResilientEmbedder(embedder, metrics)
    embedder.answer = lambda _: None
    assert await part.embed("p", "a", Budget(1)) is None
    embedder.answer = lambda _: np.full(8, np.nan, np.float32)
    with pytest.raises(DependencyUnavailable):
        await part.embed("p", "a", Budget(1))
    embedder.answer = embedding_of
    assert await part.embed("p", "a", Budget(1)) is not None
    assert len(embedder.texts) == 3


def candidates(*texts: str) -> list[StoredText]:
    return [StoredText(text, 0.1) for text in texts]


async def test_probabilities_come_out_in_order(metrics: Metrics) -> None:
    verifier = FakeVerifier()
    verifier.answer = {"a": 0.25, "b": 0.5, "c": 0.75}.__getitem__
    part = ResilientVerifier(verifier, 1, metrics)
    assert await part.verify("p", "asked", candidates("b")) == [0.5]
    assert await part.verify("p", "asked", candidates("a", "b", "c")) == [0.25, 0.5, 0.75]
    assert await part.verify("p", "asked", []) == []
    assert [[c.text for c in given] for _, given in verifier.asked] == [["b"], ["a", "c"]]


async def test_a_pair_that_was_verified_lately_is_not_verified_again(
    metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.engine.resilience._PAIRS_KNOWN", 2)
    verifier = FakeVerifier()
    part = ResilientVerifier(verifier, 1, metrics)
    for text in ("a", "b", "a", "c", "a", "b"):
        await part.verify("p", "asked", candidates(text))
    assert [given[0].text for _, given in verifier.asked] == ["a", "b", "c", "b"]
    await part.verify("p", "another", candidates("b"))
    assert len(verifier.asked) == 5


@pytest.mark.parametrize("told", [float("nan"), -0.1, 1.1, float("inf")])
async def test_a_verifier_that_answers_nonsense_is_unavailable(
    metrics: Metrics, told: float
) -> None:
    verifier = FakeVerifier()
    verifier.answer = lambda _: told
    with pytest.raises(DependencyUnavailable, match="verifier-unavailable"):
        await ResilientVerifier(verifier, 1, metrics).verify("p", "asked", candidates("a"))


async def test_a_verifier_that_forgets_a_candidate_is_unavailable(metrics: Metrics) -> None:
    class Forgetful(FakeVerifier):
        async def verify(self, asked: str, candidates: Sequence[StoredText]) -> Sequence[float]:
            return (await super().verify(asked, candidates))[1:]

    with pytest.raises(DependencyUnavailable, match="verifier-unavailable"):
        await ResilientVerifier(Forgetful(), 1, metrics).verify("p", "asked", candidates("a", "b"))


async def test_a_slow_verifier_is_unavailable(metrics: Metrics) -> None:
    verifier = FakeVerifier()
    verifier.before = hang
    with pytest.raises(DependencyUnavailable, match="verifier-unavailable"):
        await ResilientVerifier(verifier, 0.01, metrics).verify("p", "asked", candidates("a"))


async def test_what_was_verified_is_known_while_the_verifier_is_down(metrics: Metrics) -> None:
    verifier = FakeVerifier()
    part = ResilientVerifier(verifier, 0.01, metrics)
    await part.verify("p", "asked", candidates("a"))
    verifier.before = hang
    for _ in range(5):
        with pytest.raises(DependencyUnavailable):
            await part.verify("p", "asked", candidates("b"))
    assert part.is_down
    assert await part.verify("p", "asked", candidates("a")) == [1.0]
