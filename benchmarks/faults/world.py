"""A proxy and its parts: an upstream, an embedder, a verifier and a store.

Each part is behind a valve, except a store that is a file.
"""

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from app.core.calibration import Calibration
from app.inference.calibration_file import document_of
from app.upstream.simulated_embeddings import answer_embeddings
from benchmarks.faults.valve import Valve, valve_before
from tests.fakes import completion
from tests.servers import Exchange, UpstreamApp, upstream_of
from tests.valkey.server import ValkeySearch, valkey_search

_MODEL, _DIMENSIONS = "text-embedding-3-small", 256
_CALIBRATION = Calibration((0.0, 1.0, 0.0, 0.0), 0.9, ((0.01, 0.9),))
_SURE = 6.0  # log-odds
_START = 120.0  # seconds
ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True, slots=True)
class World:
    """A proxy and the parts that a fault may break.

    `url`, `pid`: the proxy's URL and process id. The store is either `valkey`, behind the valve
    `store`, or `file`; the others are None.
    """

    url: str
    pid: int
    upstream: Valve
    embedder: Valve
    verifier: Valve
    store: Valve | None = None
    valkey: ValkeySearch | None = None
    file: Path | None = None


def name_of(number: int) -> str:
    """Return an invented name. Each number has another name.

    The last syllable is the sum of the others, so any two names differ in two syllables or more. If
    two names differed in one letter, one could be taken for a typing error of the other.
    """
    syllables = [f"{c}{v}" for c in "bdfgklmnprstvz" for v in "aeiou"]
    digits = []
    for _ in range(3):
        number, digit = divmod(number, len(syllables))
        digits.append(digit)
    digits.append(sum(digits) % len(syllables))
    return "".join(syllables[digit] for digit in digits).capitalize()


async def serve(exchange: Exchange) -> None:
    """Answer as upstream, embedder or reranker, depending on the path."""
    await exchange.read()
    asked = exchange.document
    if exchange.path.endswith(b"/embeddings"):
        await exchange.answer(answer_embeddings(exchange.body))
    elif exchange.path.endswith(b"/rerank"):
        name = _named(asked["query"])
        scores = [_SURE if _named(text) == name else -_SURE for text in asked["texts"]]
        await exchange.answer([{"index": i, "score": score} for i, score in enumerate(scores)])
    else:
        answer = completion(f"{_named(asked['messages'][-1]['content'])} is a name.")
        await exchange.answer(answer)


def _named(question: str) -> str:
    """Return the name in a question: the last word that begins with a capital."""
    return [word.strip("?.") for word in question.split() if word[0].isupper()][-1]


@asynccontextmanager
async def world(*, on_disk: bool) -> AsyncIterator[World]:
    """Run a proxy and its parts. The store is a file if `on_disk` is true, otherwise a Valkey."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = await stack.enter_async_context(upstream_of(UpstreamApp(serve)))
        port = urlsplit(url).port or 0
        parts = [await stack.enter_async_context(valve_before(port)) for _ in range(3)]
        upstream, embedder, verifier = parts
        calibration = folder / "calibration.json"
        calibration.write_text(json.dumps(document_of(_CALIBRATION, f"{_MODEL}/{_DIMENSIONS}")))
        valkey = store = file = None
        if on_disk:
            file = folder / "cache.db"
            address = f"sqlite:///{file}"
        else:
            valkey = await stack.enter_async_context(valkey_search(maxmemory="0"))
            store = await stack.enter_async_context(valve_before(urlsplit(valkey.url).port or 0))
            address = f"valkey://127.0.0.1:{store.port}/0"
        settings = {
            "HOST": "127.0.0.1",
            "PORT": "0",
            "LOG_LEVEL": "error",
            "UPSTREAM_URL": f"http://127.0.0.1:{upstream.port}/v1",
            "EMBEDDER": f"http://127.0.0.1:{embedder.port}/v1",
            "EMBEDDING_MODEL": _MODEL,
            "EMBEDDING_DIMENSIONS": str(_DIMENSIONS),
            "VERIFIER_URL": f"http://127.0.0.1:{verifier.port}/rerank",
            "VERIFIER_CALIBRATION": str(calibration),
            "STORE": address,
        }
        proxy, base = await stack.enter_async_context(proxy_with(settings))
        yield World(base, proxy, upstream, embedder, verifier, store, valkey, file)


@asynccontextmanager
async def proxy_with(settings: dict[str, str]) -> AsyncIterator[tuple[int, str]]:
    """Run a proxy, and yield its process id and its base URL."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("REPRISE_")}
    ours = {f"REPRISE_{name}": value for name, value in settings.items()}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.faults.proxy"),
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env={**clean, **ours, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), _START)
        if not line:
            raise RuntimeError("the proxy refused to start")
        yield process.pid, line.decode().strip()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
