"""A reranker on its own socket, through the whole proxy."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from app.adapters import adapters_for
from app.core.calibration import Calibration
from app.core.errors import ConfigurationError
from app.inference.calibration_file import document_of
from app.settings import FixedSettings
from app.tools.benchmark import Benchmark, run_benchmark
from app.tools.groups import read_groups
from app.tools.operators import calibrate_for, operators_models, terms_of
from app.tools.rated import read_labelled
from app.upstream.simulated_embeddings import answer_embeddings
from tests.fakes import FakeProgress
from tests.servers import Exchange, Setup, UpstreamApp, upstream_of

SAME = "Can you explain what Valkey is?"
OTHER = "Can you explain what Redis is?"
CREDENTIALS = {"Authorization": "Bearer client", "api-key": "client", "Cookie": "session=client"}
KNOWN = Calibration([0.0, 1.0, 0.0, 0.0, 0.0, 0.0], 2.0, [(0.01, 0.7)], 20.0, "probability")


async def rerank(exchange: Exchange) -> None:
    """Score texts, the best first, as either of the two kinds of server does."""
    await exchange.read()
    asked = exchange.document
    texts = asked["texts"] if "texts" in asked else asked["documents"]
    name = "score" if "texts" in asked else "relevance_score"
    scored = [{"index": n, name: 0.9 if "Valkey" in t else 0.2} for n, t in enumerate(texts)]
    scored.sort(key=lambda item: -item[name])
    await exchange.answer(scored if "texts" in asked else {"results": scored})


@asynccontextmanager
async def reranked(
    tmp_path: Path, app: UpstreamApp, **settings: Any
) -> AsyncIterator[tuple[httpx.AsyncClient, Setup]]:
    """Run a proxy with a reranker. For the proxy's embedder, all texts are near each other."""
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(document_of(KNOWN, "fake", settings.get("verifier_model", ""))))
    async with upstream_of(app) as url:
        base = url.removesuffix("/v1")
        setup = Setup(
            verifier="on",
            guards="off",
            max_error_rate=0.01,
            verifier_calibration=str(path),
            verifier_url=f"{base}/{'v2/' if 'verifier_model' in settings else ''}rerank",
            **settings,
        )
        setup.verifier = None  # that of the settings
        async with setup.run() as proxy, httpx.AsyncClient(base_url=proxy, timeout=10) as client:
            yield client, setup


async def ask(client: httpx.AsyncClient, text: str) -> httpx.Headers:
    body = {"model": "m", "messages": [{"role": "user", "content": text}]}
    response = await client.post("chat/completions", json=body, headers=CREDENTIALS)
    assert response.is_success
    return response.headers


@pytest.mark.parametrize(
    ("settings", "path", "authorization"),
    [
        ({}, b"/rerank", []),
        ({"verifier_api_key": "its"}, b"/rerank", [b"Bearer its"]),
        (
            {"verifier_model": "a-reranker", "verifier_api_key": "its"},
            b"/v2/rerank",
            [b"Bearer its"],
        ),
    ],
)
async def test_a_reranker_decides_and_is_sent_no_credential_but_its_own(
    tmp_path: Path, settings: dict[str, Any], path: bytes, authorization: list[bytes]
) -> None:
    app = UpstreamApp(rerank)
    async with reranked(tmp_path, app, **settings) as (client, _):
        assert (await ask(client, "Can you explain what pasta is?"))["x-cache"] == "MISS"
        assert (await ask(client, SAME))["x-cache"] == "MISS"  # pasta is not what is asked
        assert (await ask(client, OTHER))["x-cache"] == "HIT"  # the reranker likes Valkey
    assert [exchange.path for exchange in app.exchanges] == [path] * 2
    for exchange in app.exchanges:
        assert exchange.header(b"authorization") == authorization
        assert exchange.header(b"api-key") == exchange.header(b"cookie") == []


async def fail(exchange: Exchange) -> None:
    await exchange.read()
    await exchange.answer({"error": "overloaded"}, 503)


async def hang(exchange: Exchange) -> None:
    await exchange.read()
    await exchange.disconnected()


async def babble(exchange: Exchange) -> None:
    await exchange.read()
    await exchange.answer([{"index": 0}])


@pytest.mark.parametrize("handler", [fail, hang, babble])
async def test_a_reranker_that_fails_costs_a_hit_and_is_left_alone_after_a_while(
    tmp_path: Path, handler: Any
) -> None:
    app = UpstreamApp(handler)
    async with reranked(tmp_path, app, verifier_timeout=0.2) as (client, _):
        await ask(client, "Can you explain what Valkey was?")
        for number in range(12):
            headers = await ask(client, f"Can you explain what Valkey {number} is?")
            assert headers["x-cache"] == "MISS"
            assert "verifier-unavailable" in headers["cache-status"]
        ready = await client.get(str(client.base_url).removesuffix("/v1/") + "/readyz")
    assert ready.json()["degraded"] == ["verifier"]
    assert 0 < len(app.exchanges) < 12


def test_a_reranker_without_a_calibration_is_refused() -> None:
    settings = FixedSettings(upstream_url="simulated://", verifier_url="http://127.0.0.1:9/rerank")
    with pytest.raises(ConfigurationError) as refused:
        adapters_for(settings)
    assert str(refused.value).startswith(
        "REPRISE_VERIFIER_URL=http://127.0.0.1:9/rerank is not allowed without "
        "REPRISE_VERIFIER_CALIBRATION"
    )
    off = settings.model_copy(update={"verifier": "off"})
    assert adapters_for(off).verifier is None


def test_a_calibration_of_ones_own_is_for_the_shipped_verifier_too(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(document_of(KNOWN, "all-MiniLM-L6-v2")))
    settings = FixedSettings(upstream_url="simulated://", verifier_calibration=str(path))
    verifier = adapters_for(settings).verifier
    assert verifier is not None
    assert verifier.calibration.threshold(0.01) == 0.7


def write_groups(path: Path) -> Path:
    """Write rewordings and near misses; the reranker below tells them apart by their first word."""
    lines = [
        {
            "questions": [f"{topic} how to {n}", f"{topic} the way to {n}"],
            "near": [f"not {topic} {n}"],
        }
        for n, topic in enumerate(("alpha", "beta", "gamma", "delta") * 15)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


async def embed_and_rerank(exchange: Exchange) -> None:
    """Embed as the simulated upstream does. Texts with equal beginning and end get high scores."""
    body = await exchange.read()
    if exchange.path.endswith(b"/embeddings"):
        await exchange.answer(answer_embeddings(body))
        return
    asked = exchange.document["query"].split()
    texts = [text.split() for text in exchange.document["texts"]]
    scores = [5.0 if (t[0], t[-1]) == (asked[0], asked[-1]) else -5.0 for t in texts]
    await exchange.answer([{"index": n, "score": score} for n, score in enumerate(scores)])


async def test_models_on_servers_are_calibrated_then_measured_then_serve(tmp_path: Path) -> None:
    app = UpstreamApp(embed_and_rerank)
    path, groups = tmp_path / "calibration.json", write_groups(tmp_path / "groups.jsonl")
    async with upstream_of(app) as url:
        settings = FixedSettings(
            upstream_url="simulated://",
            embedder=url,
            embedding_model="m",
            embedder_api_key=SecretStr("its"),
            guards="off",
            max_error_rate=0.05,
            verifier_url=url.removesuffix("/v1") + "/rerank",
            verifier_calibration=str(path),
        )
        labelled = read_labelled([groups], 2)
        made, embedder = await asyncio.to_thread(
            calibrate_for, settings, labelled, None, FakeProgress()
        )
        assert embedder == "m/1536"
        assert made.reachable == 60
        kept = {line.rate: (line.right, line.wrong) for line in made.lines if line.least}
        assert kept == {0.05: (60, 0), 0.1: (60, 0)}
        path.write_text(json.dumps(document_of(made.calibration, embedder)))

        def measure() -> Benchmark:
            with operators_models(settings) as models:
                terms = terms_of(settings, models, [])
                return run_benchmark("f", read_groups(groups)[:8], models, terms, FakeProgress())

        measured = await asyncio.to_thread(measure)
    ours = measured.document()["rules"][0]
    assert (ours["limit"], ours["right_of_ideal_hits"]["count"]) == ("dial 0.05", 8)
    assert ours["wrong_among_hits"]["count"] == ours["near_misses_served"]["count"] == 0
    assert ours["rewordings_served"]["count"] == ours["rewordings_served"]["of"] == 8
    tutorial = measured.document()["rules"][1]
    assert tutorial["rule"] == "tutorial"
