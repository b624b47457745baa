"""No client waits for another client's request, whatever that request contains."""

import asyncio
import io
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from tests.fakes import completion
from tests.servers import Exchange, Setup

LONGEST_SILENCE = 0.1  # seconds
PAUSE = 0.01  # seconds between two questions
QUIET = 20  # questions that show how quiet the machine is
LETTERS = b"x", b"y", b"z"  # one for each try; one must be quiet on a machine that is busy

TRY = "try"  # stands for another letter each time, so that nothing is remembered

CHAT = "chat/completions"
EMBEDDINGS = "embeddings"


def chat(text: str) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]}).encode()


def messages(count: int) -> bytes:
    message = {"role": "user", "content": "a"}
    return json.dumps({"model": "m", "messages": [message] * count}).encode()


def names(count: int) -> bytes:
    others = ",".join(f'"{number:x}":1' for number in range(count))
    return chat("a").replace(b'{"model"', f'{{"x":{{{others}}},"model"'.encode(), 1)


def inputs(count: int) -> bytes:
    return json.dumps({"model": "m", "input": ["a"] * count}).encode()


def arrays(count: int) -> bytes:
    return chat("a").replace(b'{"model"', b'{"x": [' + b"[]," * count + b'1], "model"', 1)


LONG = "a" * 8000

BODIES: dict[str, tuple[str, list[bytes]]] = {
    "a text that NFKC expands": (CHAT, [chat("\u3316" * 3990 + TRY)]),
    "a numeral that NFKC expands": (CHAT, [chat("\u2167" * 3990 + TRY)]),
    "marks out of order": (CHAT, [chat("\u0301\u0316" * 1995 + TRY)]),
    "encoded words": (CHAT, [chat(f"valkey aA{LONG}aA"), chat(f"valkey aA{LONG}aAb")]),
    "humps": (CHAT, [chat("valkey " + "aAbB " * 1600), chat("valkey " + "aABb " * 1600)]),
    "messages": (CHAT, [messages(100_000)]),
    "names": (CHAT, [names(700_000)]),
    "inputs": (EMBEDDINGS, [inputs(300_000)]),
    "arrays": (CHAT, [arrays(1_000_000)]),
    "inputs that are all read": (EMBEDDINGS, [inputs(4096)]),
}


async def answer_unread(exchange: Exchange) -> None:
    await exchange.read()
    await exchange.answer(completion("Answer"))


@asynccontextmanager
async def silences(session: aiohttp.ClientSession) -> AsyncIterator[list[float]]:
    """Ask for the health again and again. Yield the list of seconds from answer to answer."""
    found: list[float] = []

    async def ping() -> None:
        begin = time.monotonic()
        while True:
            async with session.get("/healthz") as answer:
                assert answer.status == 200
            found.append(time.monotonic() - begin)
            begin = time.monotonic()
            await asyncio.sleep(PAUSE)

    pinging = asyncio.create_task(ping())
    try:
        yield found
    finally:
        count = len(found)
        while len(found) < count + 2 and not pinging.done():
            await asyncio.sleep(0)
        pinging.cancel()
        await asyncio.wait({pinging})


async def quiet_silence(session: aiohttp.ClientSession) -> float:
    """Return the longest wait in seconds without other requests, caused by the machine itself."""
    async with silences(session) as found:
        while len(found) < QUIET:
            await asyncio.sleep(PAUSE)
    return max(found)


async def longest_silence(session: aiohttp.ClientSession, path: str, bodies: list[bytes]) -> float:
    async with silences(session) as found:
        for body in bodies:
            headers = {"content-type": "application/json"}
            async with session.post(
                f"/v1/{path}", data=io.BytesIO(body), headers=headers
            ) as answer:
                assert answer.status == 200
                await answer.read()
    return max(found)


@pytest.mark.parametrize(("path", "bodies"), BODIES.values(), ids=BODIES)
async def test_no_request_keeps_the_others_waiting(path: str, bodies: list[bytes]) -> None:
    found = []
    for letter in LETTERS:
        setup = Setup()
        setup.upstream.handler = answer_unread
        async with (
            setup.run() as url,
            aiohttp.ClientSession(url.removesuffix("/v1")) as session,
        ):
            told = [body.replace(TRY.encode(), letter) for body in bodies]
            quiet = await quiet_silence(session)
            found.append(await longest_silence(session, path, told) - quiet)
        if found[-1] < LONGEST_SILENCE:
            return
    assert min(found) < LONGEST_SILENCE


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, messages(100_000)),
        (CHAT, names(700_000)),
        (CHAT, arrays(100_000)),
        (EMBEDDINGS, inputs(300_000)),
        (EMBEDDINGS, inputs(4097)),
    ],
)
async def test_what_has_too_many_parts_goes_past_the_cache(path: str, body: bytes) -> None:
    setup = Setup()
    setup.upstream.handler = answer_unread
    async with (
        setup.run() as url,
        aiohttp.ClientSession(url.removesuffix("/v1")) as session,
        session.post(f"/v1/{path}", data=io.BytesIO(body)) as answer,
    ):
        assert answer.headers["cache-status"] == "reprise; fwd=bypass; detail=too-complex"
        assert (await answer.json())["choices"]
    assert setup.upstream.exchanges[0].body == body
