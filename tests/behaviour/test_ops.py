"""Health, readiness, metrics and log lines of a running proxy."""

import json
import logging
import signal
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.core.logs import JsonFormatter, TextFormatter
from tests.servers import Setup

SECRETS = {
    "Authorization": "Bearer sk-secret",
    "Cookie": "session=sk-secret",
    "x-cache-namespace": "sk-secret",
}
CHAT = {"model": "m", "messages": [{"role": "user", "content": "valkey sk-secret"}]}


@pytest.fixture
def setup() -> Setup:
    return Setup(upstream_api_key="sk-secret-upstream", api_keys="sk-secret")


@pytest.fixture
async def client(setup: Setup) -> AsyncIterator[httpx.AsyncClient]:
    async with setup.run() as url, httpx.AsyncClient(base_url=url, headers=SECRETS) as client:
        yield client


async def metrics(client: httpx.AsyncClient) -> dict[tuple[str, str], float]:
    """Return all samples, by name and label values. The values are in the order of label names."""
    text = (await client.get("../metrics")).text
    return {
        (sample.name, " ".join(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_health_and_readiness_need_no_key(client: httpx.AsyncClient) -> None:
    client.headers.clear()
    for path in ("healthz", "readyz", "metrics"):
        assert (await client.head(f"../{path}")).status_code == 200
    assert (await client.get("../healthz")).json() == {"status": "ok"}
    ready = await client.get("../readyz")
    assert (ready.status_code, ready.json()) == (200, {"status": "ok", "degraded": []})


async def test_metrics_count_what_happened(client: httpx.AsyncClient) -> None:
    async def ask(text: str, **fields: object) -> None:
        messages = [{"role": "user", "content": text}]
        body = {"model": "m", "messages": messages, **fields}
        await client.post("chat/completions", json=body)

    await ask("valkey what")
    await ask("valkey what")
    await ask("valkey is what")
    await ask("valkey what", store=True)
    await client.get("files")
    await client.get("models")
    seen = await metrics(client)
    assert seen["reprise_requests_total", "MISS chat_completions "] == 1
    assert seen["reprise_requests_total", "HIT chat_completions exact"] == 1
    assert seen["reprise_requests_total", "HIT chat_completions semantic"] == 1
    assert seen["reprise_requests_total", "BYPASS chat_completions "] == 1
    assert seen["reprise_requests_total", "REFUSED other "] == 1
    assert seen["reprise_requests_total", "BYPASS other "] == 1
    assert seen["reprise_stored_total", "chat_completion"] == 1
    assert seen["reprise_entries", "chat_completion"] == 1
    assert seen["reprise_embedding_seconds_count", ""] == 2
    assert seen["reprise_upstream_seconds_count", ""] == 3
    assert seen["reprise_lookup_seconds_count", "semantic"] == 2


async def test_nothing_secret_shows_in_logs_metrics_or_headers(
    client: httpx.AsyncClient, setup: Setup, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        responses = [await client.post("chat/completions", json=CHAT) for _ in range(2)]
        responses.append(await client.get("files?key=sk-secret"))
        responses.append(await client.get("../metrics"))
    for record in caplog.records:
        # The client's own lines, and those of uvicorn that only pytest switches on.
        if not record.name.startswith(("httpx", "httpcore", "uvicorn.access")):
            for formatter in (TextFormatter(), JsonFormatter()):
                assert "sk-secret" not in formatter.format(record)
    for response in responses:
        assert "sk-secret" not in str(response.headers)
    assert "sk-secret" not in responses[-1].text
    assert "sk-secret" not in repr(setup.settings)


async def test_every_request_has_one_log_line(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "reprise.access"):
        await client.post("chat/completions", json=CHAT)
        await client.post("chat/completions", json=CHAT)
        await client.get("files%0Aforged")
        await client.get("../healthz")  # on the same connection: the lines before are written
    access = [record for record in caplog.records if record.name == "reprise.access"]
    lines = [json.loads(JsonFormatter().format(record)) for record in access]
    assert [(line["path"], line["status"], line.get("outcome")) for line in lines] == [
        ("/v1/chat/completions", 200, "MISS"),
        ("/v1/chat/completions", 200, "HIT"),
        ("/v1/files%0Aforged", 403, "REFUSED"),
    ]
    assert lines[1]["tier"] == "exact"


async def test_readiness_ends_before_the_service_does(setup: Setup) -> None:
    async with setup.run() as url, httpx.AsyncClient(base_url=url) as client:
        assert (await client.get("../readyz")).status_code == 200
        setup.server.handle_exit(signal.SIGTERM, None)
        assert (await client.get("../readyz")).status_code == 503
        assert (await client.get("../healthz")).status_code == 200


async def test_answers_of_our_own_carry_a_date_and_no_name(client: httpx.AsyncClient) -> None:
    for response in (
        await client.post("chat/completions", json=CHAT),
        await client.post("chat/completions", json=CHAT),
        await client.get("files"),
    ):
        assert len(response.headers.get_list("date")) == 1
        assert parsedate_to_datetime(response.headers["date"])
        assert "uvicorn" not in str(response.headers)
