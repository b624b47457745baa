"""The attacks: bytes that a hostile client sends, withholds, or refuses to read.

Each attack is listed in SECURITY.md, and opens at most a hundred connections. No attack is a flood.
"""

import asyncio
import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from benchmarks.hostile.attacker import Attack, Attacker, together
from benchmarks.hostile.world import BOMB, HUGE, LARGE, STREAM
from tests.behaviour.test_hostile_wire import (
    CHUNKED,
    CLOSED,
    HOST,
    NEXT,
    NOWHERE,
    POST,
    TAKEN,
    get,
)
from tests.behaviour.test_stalls import BODIES, TRY, chat

_SIZES = 7, 65_536  # bytes a packet
_SHORT = 1000  # bytes; what is longer is not cut into small packets
_ANSWERS = 5  # answers that an attack stores
_FEW, _MANY, _CROWD = 8, 30, 100  # connections, requests
_BEYOND = 12_000_000  # bytes of a body; more than is cached
_SOME = 100_000  # bytes of an answer before a client leaves
_NESTED = 100_000
_CHANGES = 5  # bytes that are changed
_BYTES = 2000  # random ones

_BEGINNINGS = (b"", b"GET", POST, CHUNKED + b"5\r\n", get(b"/healthz"), get(b"/v1/models"))
_MALFORMED: Sequence[bytes] = (
    b"[" * _NESTED,
    b'{"messages":' * _NESTED,
    b'{"model": "m", "messages": ' + b"[" * _NESTED + b"]" * _NESTED + b"}",
    b'{"model": "m", "messages": [{"role": "user", "content": "\xff\xc0\xaf"}]}',
    b'{"model": "m", "messages": [{"role": "user", "content": "\\ud800 a"}]}',
    b'{"model": "m", "model": "n", "messages": [{"role": "user", "content": "a"}]}',
    b'{"model": "m", "temperature": ' + b"9" * 10_000 + b', "messages": []}',
    b'{"model": "m", "temperature": 1e999, "messages": [{"role": "user", "content": "a"}]}',
    b'{"model": "m", "messages": [{"role": "user", "content": "a"',
    b'\xef\xbb\xbf{"model": "m"}',
    "{}".encode("utf-16"),
    b"",
)
_BODY_BEYOND = chat("x" * _BEYOND)
_BOMBS = gzip.compress(bytes(50_000_000)), gzip.compress(chat("a"))
_CODINGS = b"gzip", b"deflate", b"br", b"zstd", b"gzip, gzip", b"x"
_FIELDS: Sequence[Callable[[str], str]] = (
    "Cache-Control: max-age={0}, no-cache, max-stale={0}".format,
    "Cache-Control: {0}".format,
    "Cache-Control: only-if-cached, stale-if-error=-1".format,
    "X-Cache-TTL: 1e{0}".format,
    "X-Cache-Max-Distance: nan".format,
    "X-Cache-Namespace: {0}".format,
    "X-Cache-Tags: {0}, a, b, c".format,
    "X-Forwarded-User: {0}".format,
    "Cookie: {0}={0}".format,
    "Connection: {0}, close, authorization".format,
    "Traceparent: 00-{0}".format,
    "Origin: https://{0}.example".format,
    "Accept-Encoding: {0};q=2, *;q=0".format,
    "Range: bytes=0-1,5-{0}".format,
    "Expect: 100-continue".format,
)
_OPERATORS = (
    *("cache/stats", "cache/entries", "cache/export", "cache/purge", "cache/entries/x"),
    *("metrics", "dashboard", "cache/import", "cache/explain", "readyz", "docs", "openapi.json"),
)


def post(attacker: Attacker, body: bytes, *fields: str, path: str = "chat/completions") -> bytes:
    """Return a request with the attacker's key and `Connection: close`."""
    lines = "".join(f"{field}\r\n" for field in fields)
    head = f"POST /v1/{path} HTTP/1.1\r\n{HOST.decode()}Content-Length: {len(body)}\r\n{lines}"
    return attacker.signed(f"{head}Connection: close\r\n\r\n".encode()) + body


def asking(attacker: Attacker, kind: str, **others: Any) -> bytes:
    """Return a request with the attacker's key and a new question, which no stored answer serves.

    `kind` is the first word of the question: it tells the upstream which kind of answer to give.
    """
    message = {"role": "user", "content": f"{kind} {attacker.nonce()}"}
    return post(attacker, json.dumps({"model": "m", "messages": [message], **others}).encode())


async def _confuse(attacker: Attacker) -> None:
    _, _, sent = attacker.draw.choice(CLOSED)
    size = attacker.draw.choice(_SIZES) if len(sent) < _SHORT else _SIZES[-1]
    await attacker.say(attacker.signed(sent) + NEXT, size=size)


async def _lead_elsewhere(attacker: Attacker) -> None:
    _, path = attacker.draw.choice(NOWHERE)
    await attacker.say(attacker.signed(get(path)) + attacker.signed(NEXT))


async def _be_odd(attacker: Attacker) -> None:
    sent, _ = attacker.draw.choice([*TAKEN.values()])
    size = attacker.draw.choice(_SIZES)
    await attacker.say(attacker.signed(sent) + attacker.signed(NEXT), size=size)


async def _babble(attacker: Attacker) -> None:
    begin = attacker.draw.choice([b"", POST, CHUNKED])
    sent = attacker.signed(begin) + attacker.draw.randbytes(attacker.draw.randrange(_BYTES))
    await attacker.say(sent, size=attacker.draw.choice(_SIZES))


async def _change(attacker: Attacker) -> None:
    sent = bytearray(post(attacker, chat(attacker.nonce())))
    for _ in range(_CHANGES):
        sent[attacker.draw.randrange(len(sent))] = attacker.draw.randrange(256)
    await attacker.say(bytes(sent))


async def _wait(attacker: Attacker) -> None:
    begin = [attacker.signed(attacker.draw.choice(_BEGINNINGS)) for _ in range(_FEW)]
    await together(*map(attacker.say, begin))


async def _crowd(attacker: Attacker) -> None:
    async def stay() -> None:
        await asyncio.sleep(attacker.draw.random())
        async with attacker.connection():
            await asyncio.sleep(1.0)

    await together(*(stay() for _ in range(_CROWD)))


async def _drip_head(attacker: Attacker) -> None:
    await attacker.drip(get(b"/v1/models", b"X: y\r\n" * _MANY))


async def _drip_body(attacker: Attacker) -> None:
    head, _, body = post(attacker, chat(attacker.nonce())).partition(b"\r\n\r\n")
    await attacker.drip(body, head + b"\r\n\r\n")


async def _ignore_answer(attacker: Attacker) -> None:
    await attacker.ignore(asking(attacker, HUGE))


async def _ignore_stream(attacker: Attacker) -> None:
    await attacker.ignore(asking(attacker, STREAM, stream=True))


async def _ignore_many(attacker: Attacker) -> None:
    await attacker.ignore(attacker.signed(get(b"/v1/models")) * _CROWD)


async def _break_off(attacker: Attacker) -> None:
    sent = asking(attacker, attacker.draw.choice([LARGE, STREAM]), stream=True)
    await attacker.leave(sent[: attacker.draw.randrange(len(sent))], after=0)


async def _leave(attacker: Attacker) -> None:
    kind, after = attacker.draw.choice([LARGE, HUGE, STREAM]), attacker.draw.randrange(_SOME)
    await attacker.leave(asking(attacker, kind, stream=kind == STREAM), after=after)


async def _leave_together(attacker: Attacker) -> None:
    sent = asking(attacker, STREAM, stream=True)
    leaving = (attacker.leave(sent, after=attacker.draw.randrange(_SOME)) for _ in range(_FEW))
    await together(*leaving)


async def _send_much(attacker: Attacker) -> None:
    path = attacker.draw.choice(["chat/completions", "embeddings", "files"])
    await attacker.say(post(attacker, _BODY_BEYOND, path=path))


async def _promise_much(attacker: Attacker) -> None:
    head = POST + b"Content-Length: %d\r\n\r\n" % (1 << 50)
    await attacker.leave(attacker.signed(head) + bytes(_BEYOND // 4), after=1)


async def _send_parts(attacker: Attacker) -> None:
    path, bodies = attacker.draw.choice([*BODIES.values()])
    nonce = attacker.nonce().encode()
    for body in bodies:
        await attacker.say(post(attacker, body.replace(TRY.encode(), nonce), path=path))


async def _send_numbers(attacker: Attacker) -> None:
    numbers = (str(attacker.draw.getrandbits(attacker.draw.randrange(1, 64))) for _ in range(500))
    await attacker.say(
        post(attacker, chat(f"valkey {attacker.draw.choice(' ,.-:')}".join(numbers)))
    )


async def _send_malformed(attacker: Attacker) -> None:
    path = attacker.draw.choice(["chat/completions", "responses", "messages", "embeddings"])
    await attacker.say(post(attacker, attacker.draw.choice(_MALFORMED), path=path))


async def _send_bomb(attacker: Attacker) -> None:
    coding = attacker.draw.choice(_CODINGS)
    body = attacker.draw.choice(_BOMBS)
    await attacker.say(post(attacker, body, f"Content-Encoding: {coding.decode()}"))


async def _ask_for_bomb(attacker: Attacker) -> None:
    coding = attacker.draw.choice(["gzip", "identity", "br"])
    body = chat(f"{BOMB} {attacker.nonce()}")
    await attacker.say(post(attacker, body, f"Accept-Encoding: {coding}"))


async def _guess(attacker: Attacker) -> None:
    for _ in range(_FEW):
        path = attacker.draw.choice(_OPERATORS)
        key = f"Authorization: Bearer sk-{attacker.nonce()}\r\nConnection: close\r\n".encode()
        await attacker.say(get(f"/{path}".encode(), key))
        await attacker.say(get(b"/v1/models", key))


async def _name_much(attacker: Attacker) -> None:
    for _ in range(_FEW):
        body = chat("a").replace(b'"m"', f'"{attacker.nonce()}"'.encode(), 1)
        await attacker.say(post(attacker, body))
        path = f"/{attacker.draw.choice(['v1', 'x', 'cache'])}/{attacker.nonce()}".encode()
        await attacker.say(attacker.signed(get(path, b"Connection: close\r\n")))


async def _direct(attacker: Attacker) -> None:
    for _ in range(_FEW):
        fields = attacker.draw.sample(_FIELDS, k=3)
        lines = [field(attacker.nonce()) for field in fields]
        await attacker.say(post(attacker, chat(attacker.nonce()), *lines))


async def _fill(attacker: Attacker) -> None:
    for _ in range(_ANSWERS):
        await attacker.say(asking(attacker, LARGE))


ATTACKS: Mapping[str, Attack] = MappingProxyType(
    {
        "framing that can be read in two ways": _confuse,
        "paths that lead elsewhere": _lead_elsewhere,
        "odd requests": _be_odd,
        "random bytes": _babble,
        "requests with random changes": _change,
        "unfinished requests that wait": _wait,
        "a hundred idle connections": _crowd,
        "heads in drops": _drip_head,
        "bodies in drops": _drip_body,
        "large answers that are not read": _ignore_answer,
        "streams that are not read": _ignore_stream,
        "a hundred answers that are not read": _ignore_many,
        "requests that break off": _break_off,
        "clients that leave an answer": _leave,
        "clients that leave a shared answer": _leave_together,
        "bodies beyond the limit": _send_much,
        "bodies that promise a petabyte": _promise_much,
        "bodies with very many parts": _send_parts,
        "long texts of numbers": _send_numbers,
        "deep, broken and ambiguous JSON": _send_malformed,
        "compressed bodies": _send_bomb,
        "answers that expand without end": _ask_for_bomb,
        "wrong keys and tokens": _guess,
        "new models and paths": _name_much,
        "odd headers": _direct,
        "answers that fill the store": _fill,
    }
)
"""All kinds of attacks, by name."""
