"""A page in a real browser that calls the proxy from another origin."""

import asyncio
import json
import shutil
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from tests.servers import Exchange, Setup, UpstreamApp, upstream_of

CHROMIUM = shutil.which("chromium")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
PAGE = """<script>
const proxy = new URLSearchParams(location.search).get("proxy");
const messages = [{role: "user", content: "valkey what"}];
async function ask() {
  const response = await fetch(proxy + "/chat/completions", {
    method: "POST",
    headers: {"content-type": "application/json", authorization: "Bearer sk-1"},
    body: JSON.stringify({model: "m", stream: true, messages}),
  });
  let text = "";
  for await (const piece of response.body.pipeThrough(new TextDecoderStream())) text += piece;
  return {status: response.status, cache: response.headers.get("x-cache"), text};
}
async function run() {
  const told = [];
  for (let i = 0; i < 2; i++) told.push(await ask().catch(error => ({error: String(error)})));
  await fetch("/told", {method: "POST", body: JSON.stringify(told)});
}
run();
</script>"""

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium"),
]


class Pages:
    """A server of one page. The page reports to the server what it saw."""

    def __init__(self) -> None:
        self.told: asyncio.Future[list[dict[str, Any]]] = asyncio.get_running_loop().create_future()

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.read()
        if exchange.method == "POST":
            self.told.set_result(json.loads(exchange.body))
        await exchange.start(200, (b"content-type", b"text/html"))
        await exchange.write(PAGE.encode() if exchange.path == b"/" else b"")
        await exchange.end()


@asynccontextmanager
async def browsing(folder: Path, url: str) -> AsyncIterator[None]:
    assert CHROMIUM is not None
    process = await asyncio.create_subprocess_exec(
        CHROMIUM, *FLAGS, f"--user-data-dir={folder}", url, stdout=DEVNULL, stderr=DEVNULL
    )
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


async def answer(exchange: Exchange) -> None:
    """Stream an answer to all origins, as many self-hosted servers do."""
    await exchange.read()
    allowed = ("origin", "methods", "headers")
    headers = [(b"access-control-allow-" + name.encode(), b"*") for name in allowed]
    headers[-1] = (headers[-1][0], b"authorization, content-type")
    if exchange.method == "OPTIONS":
        await exchange.start(204, *headers)
        await exchange.end()
        return
    await exchange.start(200, (b"content-type", b"text/event-stream"), *headers)
    for delta, finish in (({"content": "Hi "}, None), ({"content": "there"}, "stop")):
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        await exchange.write(f"data: {json.dumps({'choices': [choice]})}\n\n".encode())
    await exchange.write(b"data: [DONE]\n\n")
    await exchange.end()


@pytest.mark.parametrize("named", [True, False], ids=["origins-named", "as-the-upstream-says"])
async def test_a_page_reads_the_miss_and_the_hit(tmp_path: Path, named: bool) -> None:
    pages = Pages()
    async with upstream_of(UpstreamApp(pages)) as page_url:
        origin = page_url.removesuffix("/v1").replace("127.0.0.1", "localhost")
        settings = {"cors_origins": (origin,), "api_keys": (SecretStr("sk-1"),)} if named else {}
        setup = Setup(**settings)
        setup.upstream.handler = answer
        async with setup.run() as proxy_url, browsing(tmp_path, f"{origin}/?proxy={proxy_url}"):
            miss, hit = await asyncio.wait_for(pages.told, 50)
    for told in (miss, hit):
        assert told.get("status") == 200, told
        assert "there" in told["text"]
        assert told["text"].endswith("data: [DONE]\n\n")
    # Without CORS_ORIGINS it is for the upstream to say which headers a page may read.
    assert (miss["cache"], hit["cache"]) == (("MISS", "HIT") if named else (None, None))
    assert [exchange.method for exchange in setup.upstream.exchanges].count("POST") == 1
