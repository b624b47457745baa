"""After a purge through one proxy, another proxy no longer shows the purged questions."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import httpx
import pytest

from tests.behaviour.every_store import ADMIN, ask
from tests.behaviour.test_audits import Saying
from tests.behaviour.test_valkey import setup_on, until
from tests.servers import UpstreamApp, upstream_of
from tests.valkey.server import stand_in

QUESTION, SAME = "valkey what", "valkey is what"

Page = Callable[[httpx.AsyncClient, str], Awaitable[list[str]]]
"""Returns the questions that an operator's page shows. Some pages show one entry, by its id."""


@pytest.fixture
async def clients() -> AsyncIterator[tuple[httpx.AsyncClient, httpx.AsyncClient]]:
    """Two proxies on one Valkey, with clients that use the operator's token.

    The upstream's answers change, so audits find that hits are wrong.
    """
    upstream = UpstreamApp(Saying("It is 3.", "It is 4."))
    async with AsyncExitStack() as stack:
        valkey = await stack.enter_async_context(stand_in())
        url = await stack.enter_async_context(upstream_of(upstream))
        clients: list[httpx.AsyncClient] = []
        for _ in range(2):
            setup = setup_on(valkey, verifier="on", audit_rate=1.0, upstream_api_key="sk-ours")
            setup.verifier.answer = lambda _: 0.999
            proxy = await stack.enter_async_context(setup.run_before(url))
            root = proxy.removesuffix("/v1")
            client = httpx.AsyncClient(base_url=root, headers=ADMIN, timeout=10)
            clients.append(await stack.enter_async_context(client))
        one, other = clients
        yield one, other


async def answered(client: httpx.AsyncClient, entry: str) -> list[str]:
    shown = (await client.get(f"/cache/entries/{entry}")).json()
    return [wording["asked"] for wording in shown["answered"]]


async def judged(client: httpx.AsyncClient, _: str) -> list[str]:
    return [pair["asked"] for pair in (await client.get("/cache/review")).json()["pairs"]]


async def mistaken(client: httpx.AsyncClient, _: str) -> list[str]:
    return [pair["asked"] for pair in (await client.get("/cache/report")).json()["pairs"]]


@pytest.mark.parametrize("page", [answered, judged, mistaken])
async def test_a_purge_at_one_proxy_ends_what_the_other_shows_and_nothing_else_does(
    clients: tuple[httpx.AsyncClient, httpx.AsyncClient], page: Page
) -> None:
    one, other = clients
    await ask(one, QUESTION)
    hit = await ask(one, SAME)
    entry = hit.headers["x-cache-entry"]
    assert hit.headers["x-cache"] == "HIT"

    async def is_audited() -> bool:
        return await mistaken(one, entry) == [SAME]

    await until(is_audited)
    assert (await ask(other, QUESTION)).headers["x-cache"] == "HIT"
    assert await page(one, entry) == [SAME]
    told = await other.post("/cache/purge", json={"model": "another"})
    assert told.json()["purged"] == 0
    assert await page(one, entry) == []
    assert (await ask(one, SAME)).headers["x-cache"] == "HIT"
