"""Rerankers over a fake server; over sockets in tests/behaviour/test_verifiers.py."""

import json
from typing import Any

import pytest

from app.core.calibration import Calibration, uncalibrated
from app.core.errors import DependencyFailed, UpstreamTimeout
from app.core.models import ClientRequest, StoredText
from app.inference.remote_verifier import RemoteVerifier
from tests.fakes import FakeResponse, FakeUpstream

TEXTS = [StoredText("one", 0.1), StoredText("two", 0.2), StoredText("three", 0.3)]
BY_PROBABILITY = Calibration((0.0, 1.0, 0.0, 0.0), 1.0, (), 20.0, "probability")


def tei(*scores: tuple[int, object]) -> bytes:
    return json.dumps([{"index": index, "score": score} for index, score in scores]).encode()


def cohere(*scores: tuple[int, object]) -> bytes:
    results = [{"index": index, "relevance_score": score} for index, score in scores]
    return json.dumps({"id": "x", "results": results, "meta": {"billed_units": {}}}).encode()


def server(body: bytes | Exception, status_code: int = 200) -> FakeUpstream:
    return FakeUpstream(lambda _: FakeResponse([body], status_code))


def document(request: ClientRequest) -> dict[str, Any]:
    assert isinstance(request.body, bytes)
    asked: dict[str, Any] = json.loads(request.body)
    return asked


@pytest.mark.parametrize("kind", [tei, cohere])
@pytest.mark.parametrize("model", ["", "a-reranker"])
async def test_scores_are_read_in_the_order_of_the_texts(kind: Any, model: str) -> None:
    upstream = server(kind((2, 0.25), (0, 0.75), (1, 0.5)))
    told = await RemoteVerifier(upstream, BY_PROBABILITY, model).verify("asked", TEXTS)
    assert told == pytest.approx([0.75, 0.5, 0.25])
    assert upstream.responses[0].closed


async def test_log_odds_are_read_too() -> None:
    upstream = server(tei((0, 2.0), (1, -2), (2, 0.0)))
    told = await RemoteVerifier(upstream, uncalibrated(1.0)).verify("asked", TEXTS)
    assert told == pytest.approx([0.880797, 0.119203, 0.5], abs=1e-6)


@pytest.mark.parametrize(
    ("model", "body"),
    [
        ("", {"query": "What is 密码?", "texts": ["one", "two", "three"], "truncate": False}),
        ("m", {"model": "m", "query": "What is 密码?", "documents": ["one", "two", "three"]}),
    ],
)
async def test_what_is_asked(model: str, body: dict[str, object]) -> None:
    upstream = server(tei((0, 0.1), (1, 0.1), (2, 0.1)))
    await RemoteVerifier(upstream, BY_PROBABILITY, model).verify("What is 密码?", TEXTS)
    (request,) = upstream.requests
    assert (request.method, request.path, request.query) == ("POST", b"", b"")
    assert document(request) == body
    assert request.headers == (
        (b"content-type", b"application/json"),
        (b"accept", b"application/json"),
        (b"accept-encoding", b"identity"),
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"null",
        b"{}",
        b"[]",
        b'{"results": null}',
        tei((0, 0.1), (1, 0.1)),
        tei((0, 0.1), (1, 0.1), (3, 0.1)),
        tei((0, 0.1), (1, 0.1), (1, 0.2), (2, 0.1)),
        tei((0, 0.1), (1, "a"), (2, 0.1)),
        tei((0, 0.1), (1, None), (2, 0.1)),
        tei((0, 0.1), (1, True), (2, 0.1)),
        tei((0, 0.1), (1, [0.1]), (2, 0.1)),
        b'[{"index": 0, "score": NaN}, {"index": 1, "score": 0}, {"index": 2, "score": 0}]',
        b'[{"index": true, "score": 1}, {"index": 0, "score": 0}, {"index": 2, "score": 0}]',
    ],
)
async def test_an_answer_without_a_score_for_each_text_is_a_failure(body: bytes) -> None:
    with pytest.raises(DependencyFailed, match="its answer does not contain a score for each text"):
        await RemoteVerifier(server(body), BY_PROBABILITY).verify("asked", TEXTS)


async def test_a_score_off_the_calibrations_scale_is_a_failure() -> None:
    upstream = server(tei((0, 3.5), (1, 0.1), (2, 0.1)))
    with pytest.raises(DependencyFailed, match="do not fit the calibration"):
        await RemoteVerifier(upstream, BY_PROBABILITY).verify("asked", TEXTS)


async def test_an_answer_is_read_to_a_bound() -> None:
    with pytest.raises(DependencyFailed, match="its answer is too large"):
        await RemoteVerifier(server(b" " * 1_048_577), BY_PROBABILITY).verify("asked", TEXTS)


@pytest.mark.parametrize("status", [204, 302, 401, 404, 413, 422, 429, 500, 503])
async def test_another_status_is_a_failure(status: int) -> None:
    upstream = server(b"{}", status)
    with pytest.raises(DependencyFailed, match=f"it answered with status {status}"):
        await RemoteVerifier(upstream, BY_PROBABILITY).verify("asked", TEXTS)
    assert upstream.responses[0].closed


async def test_what_the_client_raises_is_left_to_the_engine() -> None:
    with pytest.raises(UpstreamTimeout):
        await RemoteVerifier(server(UpstreamTimeout("late")), BY_PROBABILITY).verify("asked", TEXTS)


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_texts_that_the_server_finds_too_long_are_not_served(status: int) -> None:
    upstream = server(b"{}", status)
    candidates = [StoredText("one", 0.1), StoredText("word " * 900, 0.2)]
    told = await RemoteVerifier(upstream, BY_PROBABILITY).verify("asked", candidates)
    assert told == [0.0, 0.0]


async def test_a_server_that_may_cut_texts_is_not_sent_long_ones() -> None:
    upstream = server(cohere((0, 0.5)))
    candidates = [StoredText("ü" * 300, 0.1), StoredText("short", 0.2)]
    told = await RemoteVerifier(upstream, BY_PROBABILITY, "m").verify("asked", candidates)
    assert told == [0.0, pytest.approx(0.5)]
    assert document(upstream.requests[0])["documents"] == ["short"]
    verifier = RemoteVerifier(upstream, BY_PROBABILITY, "m")
    assert await verifier.verify("asked", candidates[:1]) == [0.0]
    assert len(upstream.requests) == 1
