"""The effects of rules by model, namespace and path on requests, on real sockets."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.behaviour.test_stale import chat, unavailable
from tests.fakes import FakeVerifier
from tests.servers import Setup

TOKEN = "s3cret"
RULES = """
[[rule]]
name = "new every time"
namespace = "news"
tier = "off"

[[rule]]
name = "billing"
namespace = "billing*"
tier = "exact"
ttl = 10

[[rule]]
name = "sure"
namespace = "sure"
max_error_rate = 0.01

[[rule]]
name = "patient"
path = "/v1/chat/completions"
model = "slow-*"
stale_if_error = 600
"""


@asynccontextmanager
async def client_of(path: Path) -> AsyncIterator[tuple[httpx.AsyncClient, Setup]]:
    (path / "policy.toml").write_text(RULES)
    told = {"policy": str(path / "policy.toml"), "admin_token": TOKEN, "ttl": 60}
    setup = Setup(**told, verifier="on", max_error_rate=0.05)
    async with setup.run() as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
        yield client, setup


async def ask(
    client: httpx.AsyncClient, text: str, namespace: str = "", model: str = "m"
) -> tuple[str, str]:
    """Return what a response says about the cache: the outcome, and how a hit was found."""
    headers = {"x-cache-namespace": namespace} if namespace else {}
    body = chat(text) | {"model": model}
    response = await client.post("chat/completions", json=body, headers=headers)
    status = response.headers["cache-status"].partition("detail=")[2]
    return response.headers["x-cache"], status.strip('"').partition(";")[0]


async def test_a_request_gets_what_the_first_rule_that_it_meets_says(tmp_path: Path) -> None:
    async with client_of(tmp_path) as (client, setup):
        for namespace in ("", "news", "billing", "billing-eu"):
            await ask(client, "valkey what", namespace)
        assert await ask(client, "valkey what", "news") == ("BYPASS", "policy")
        assert await ask(client, "valkey what", "billing") == ("HIT", "exact")
        assert await ask(client, "valkey is what", "billing-eu") == ("MISS", "")
        assert await ask(client, "valkey is what") == ("HIT", "semantic")
        setup.clock.advance(11)
        assert await ask(client, "valkey what", "billing") == ("MISS", "")
        assert await ask(client, "valkey what") == ("HIT", "exact")


async def test_a_rule_has_a_dial_of_its_own(tmp_path: Path) -> None:
    verifier = FakeVerifier()
    loose = verifier.calibration.threshold(0.05)
    strict = verifier.calibration.threshold(0.01)
    assert loose < strict
    verifier.answer = lambda _: (loose + strict) / 2
    async with client_of(tmp_path) as (client, setup):
        setup.verifier.answer = verifier.answer
        for namespace in ("", "sure"):
            await ask(client, "valkey what", namespace)
        assert await ask(client, "valkey is what") == ("HIT", "semantic")
        assert await ask(client, "valkey is what", "sure") == ("MISS", "")


async def test_a_rule_has_stale_windows_of_its_own(tmp_path: Path) -> None:
    async with client_of(tmp_path) as (client, setup):
        for model in ("m", "slow-m"):
            await ask(client, "valkey what", model=model)
        setup.clock.advance(100)
        setup.upstream.handler = unavailable
        assert (await ask(client, "valkey what", model="slow-m"))[0] == "STALE"
        assert (await ask(client, "valkey what"))[0] == "MISS"


@pytest.mark.parametrize(
    ("namespace", "rule", "outcome"),
    [("", None, "MISS"), ("news", "new every time", "BYPASS"), ("billing-eu", "billing", "MISS")],
)
async def test_explain_says_which_rule_a_request_meets(
    tmp_path: Path, namespace: str, rule: str | None, outcome: str
) -> None:
    async with client_of(tmp_path) as (client, _):
        asked = {"request": chat("valkey what"), "headers": {}}
        if namespace:
            asked["headers"] = {"x-cache-namespace": namespace}
        url = str(client.base_url).replace("/v1/", "/cache/explain")
        headers = {"authorization": f"Bearer {TOKEN}"}
        told = (await client.post(url, json=asked, headers=headers)).json()
        assert (told["rule"], told["outcome"]) == (rule, outcome)


async def test_explain_tells_the_dial_that_holds(tmp_path: Path) -> None:
    async with client_of(tmp_path) as (client, setup):
        url = str(client.base_url).replace("/v1/", "/cache/explain")
        told = {}
        for namespace in ("", "sure"):
            headers = {"x-cache-namespace": namespace} if namespace else {}
            asked = {"request": chat("valkey what"), "headers": headers}
            answer = await client.post(
                url, json=asked, headers={"authorization": f"Bearer {TOKEN}"}
            )
            told[namespace] = answer.json()["limits"]["min_probability"]
        threshold = setup.verifier.calibration.threshold
        assert told == {"": threshold(0.05), "sure": threshold(0.01)}
