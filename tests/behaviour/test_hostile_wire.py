"""Requests that are written to confuse HTTP parsers: which status they get, and what follows.

Two proxies, one behind the other, must agree where a request ends (RFC 9112 §11.2). If they could
read a request differently, it is refused and its connection is closed. After every other request,
the next answer belongs to the next request.
"""

import asyncio
import json
import resource
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from tests.servers import Exchange, Setup, until_closed

BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "valkey what"}]}).encode()
HOST = b"Host: localhost\r\n"
POST = b"POST /v1/chat/completions HTTP/1.1\r\n" + HOST
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
SMUGGLED = b"GET /v1/smuggled HTTP/1.1\r\n" + HOST + b"\r\n"
NEXT = b"GET /v1/next HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
SIZE = b"%d" % len(BODY)
CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
ASKED = "/v1/chat/completions"


def get(target: bytes, fields: bytes = b"") -> bytes:
    return b"GET %s HTTP/1.1\r\n%s%s\r\n" % (target, HOST, fields)


def sized(*lines: bytes) -> bytes:
    """Return a request with `lines` in its head, which state the length of its body."""
    return POST + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + BODY


def coded(*lines: bytes) -> bytes:
    """Return a request with `lines` in its head, and a body in chunks with a request behind it.

    A parser that does not read the body as chunks would run the smuggled request.
    """
    head = POST + b"".join(line + b"\r\n" for line in lines) + b"\r\n"
    return head + CHUNKS + SMUGGLED


def in_chunks(size: bytes, end: bytes = b"\r\n0\r\n\r\n") -> bytes:
    """Return a request with one chunk: `size` stands before its bytes, and `end` after them."""
    return CHUNKED + size + BODY + end


HEX = b"%x" % len(BODY)

LENGTHS = {  # RFC 9112 §6.3: one length, digits alone
    "twice the same": sized(b"Content-Length: " + SIZE, b"Content-Length: " + SIZE),
    "twice": sized(b"Content-Length: " + SIZE, b"Content-Length: 0"),
    "a list": sized(b"Content-Length: %s, %s" % (SIZE, SIZE)),
    "plus": sized(b"Content-Length: +" + SIZE),
    "minus": sized(b"Content-Length: -1"),
    "hexadecimal": sized(b"Content-Length: 0x" + HEX),
    "underscore": sized(b"Content-Length: 7_2"),
    "inner space": sized(b"Content-Length: 7 2"),
    "empty": sized(b"Content-Length:"),
    "fraction": sized(b"Content-Length: 72.0"),
    "exponent": sized(b"Content-Length: 72e0"),
    "other digits": sized("Content-Length: ٧٢".encode()),
    "of 2 to the 64": sized(b"Content-Length: %d" % (2**64 + len(BODY))),
    "endless": sized(b"Content-Length: " + b"9" * 40),
    "space before colon": sized(b"Content-Length : " + SIZE),
    "folded": sized(b"Content-Length:", b" " + SIZE),
}
CODINGS = {  # RFC 9112 §6.1: chunked once and last, and no length beside it
    "length before": coded(b"Content-Length: 4", b"Transfer-Encoding: chunked"),
    "length behind": coded(b"Transfer-Encoding: chunked", b"Content-Length: 4"),
    "length 0": coded(b"Content-Length: 0", b"Transfer-Encoding: chunked"),
    "twice": coded(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    "and another": coded(b"Transfer-Encoding: chunked", b"Transfer-Encoding: x"),
    "not last": coded(b"Transfer-Encoding: chunked, identity"),
    "list ends with nothing": coded(b"Transfer-Encoding: chunked,"),
    "vertical tab": coded(b"Transfer-Encoding: \x0bchunked"),
    "nothing": coded(b"Transfer-Encoding:"),
    "space before colon": coded(b"Transfer-Encoding : chunked"),
    "folded": coded(b"Transfer-Encoding:", b" chunked"),
    "behind a bare LF": coded(b"X: a\nTransfer-Encoding: chunked"),
    "behind a bare CR": coded(b"X: a\rTransfer-Encoding: chunked"),
    "of HTTP/1.0": coded(b"Transfer-Encoding: chunked").replace(b"1.1", b"1.0", 1),
    "of HTTP/1.0, kept": coded(b"Connection: keep-alive", b"Transfer-Encoding: chunked").replace(
        b"1.1", b"1.0", 1
    ),
}
FOREIGN_CODINGS = {
    "another first": coded(b"Transfer-Encoding: x", b"Transfer-Encoding: chunked"),
    "identity": coded(b"Transfer-Encoding: identity"),
    "identity first": coded(b"Transfer-Encoding: identity, chunked"),
    "nearly": coded(b"Transfer-Encoding: xchunked"),
    "quoted": coded(b'Transfer-Encoding: "chunked"'),
    "with a parameter": coded(b"Transfer-Encoding: chunked;q=1"),
    "list begins with nothing": coded(b"Transfer-Encoding: ,chunked"),
}
BROKEN_CHUNKS = {  # RFC 9112 §7.1
    "bare LF": in_chunks(HEX + b"\n", b"\n0\n\n"),
    "bare LF behind a size": in_chunks(HEX + b"\n"),
    "bare LF behind data": in_chunks(HEX + b"\r\n", b"\n0\r\n\r\n"),
    "bare CR behind a size": in_chunks(HEX + b"\r"),
    "bare LF in an extension": in_chunks(HEX + b";a\n"),
    "bare CR in an extension": in_chunks(HEX + b";a\rb\r\n"),
    "NUL in an extension": in_chunks(HEX + b";a\0\r\n"),
    "line end in a quoted extension": in_chunks(HEX + b';a="\r\n"\r\n'),
    "40 digits": in_chunks(b"f" * 40 + b"\r\n"),
    "2 to the 64": in_chunks(b"%x\r\n" % (2**64 + len(BODY))),
    "minus": in_chunks(b"-1\r\n"),
    "plus": in_chunks(b"+" + HEX + b"\r\n"),
    "0x": in_chunks(b"0x" + HEX + b"\r\n"),
    "space before": in_chunks(b" " + HEX + b"\r\n"),
    "space behind": in_chunks(HEX + b" \r\n"),
    "no size": in_chunks(b"\r\n"),
    "no digit": in_chunks(b"g\r\n"),
    "longer than it says": in_chunks(b"%x\r\n" % (len(BODY) - 3)),
    "length in a trailer": in_chunks(HEX + b"\r\n", b"\r\n0\r\nContent-Length: 3\r\n\r\n"),
    "broken trailer": in_chunks(HEX + b"\r\n", b"\r\n0\r\nX y: 3\r\n\r\n"),
    "folded trailer": in_chunks(HEX + b"\r\n", b"\r\n0\r\nX: 3\r\n y\r\n\r\n"),
}
BROKEN_HEADS = {  # RFC 9112 §2.2, §5
    "folded": get(b"/healthz", b"X: a\r\n b\r\n"),
    "folded before the first": b"GET /healthz HTTP/1.1\r\n X: a\r\n" + HOST + b"\r\n",
    "folded Host": b"GET /healthz HTTP/1.1\r\nHost:\r\n localhost\r\n\r\n",
    "bare CR in a value": get(b"/healthz", b"X: a\rb\r\n"),
    "bare CR in a name": get(b"/healthz", b"X\ra: b\r\n"),
    "bare CR at the end": get(b"/healthz", b"X: a\r"),
    "bare LF at the end": get(b"/healthz", b"X: a\n"),
    "bare LF in the first line": b"GET /healthz HTTP/1.1\n" + HOST + b"\r\n",
    "bare LF everywhere": get(b"/healthz").replace(b"\r\n", b"\n"),
    "bare CR everywhere": get(b"/healthz").replace(b"\r\n", b"\r") + b"\r\n\r\n",
    "NUL in a value": get(b"/healthz", b"X: a\0b\r\n"),
    "NUL in a name": get(b"/healthz", b"X\0: b\r\n"),
    "NUL in a target": get(b"/healthz\0"),
    "NUL in a method": b"GE\0T /healthz HTTP/1.1\r\n" + HOST + b"\r\n",
    "control in a value": get(b"/healthz", b"X: a\x01b\r\n"),
    "DEL in a value": get(b"/healthz", b"X: a\x7fb\r\n"),
    "no colon": get(b"/healthz", b"X\r\n"),
    "no name": get(b"/healthz", b": x\r\n"),
    "space in a name": get(b"/healthz", b"X Y: z\r\n"),
    "letter that is no token": get(b"/healthz", "Xé: z\r\n".encode()),
    "authority form": get(b"localhost:80"),
    "relative form": get(b"healthz"),
    "absolute form without a path": get(b"http://localhost"),
    "space in a target": get(b"/v1/a b"),
    "tab before a target": b"GET\t/healthz HTTP/1.1\r\n" + HOST + b"\r\n",
    "target that is no ASCII": get("/v1/é".encode()),
    "HTTP/0.9": b"GET /healthz\r\n",
    "HTTP/1.2": get(b"/healthz").replace(b"1.1", b"1.2"),
    "http/1.1": get(b"/healthz").replace(b"HTTP", b"http"),
    "HTTP/2 with prior knowledge": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "method in small letters": get(b"/healthz").replace(b"GET", b"get"),
    "method that is not known": get(b"/healthz").replace(b"GET", b"FOO"),
    "no Host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "two Hosts": get(b"/healthz", HOST),
    "space in a Host": get(b"/healthz").replace(b"localhost", b"a b"),
    "path in a Host": get(b"/healthz").replace(b"localhost", b"localhost/x"),
    "user in a Host": get(b"/healthz").replace(b"localhost", b"localhost@evil.example"),
    "port that is none": get(b"/healthz").replace(b"localhost", b"localhost:80:x"),
}
UNSUPPORTED_HEADS = {
    "HTTP/2.0": get(b"/healthz").replace(b"1.1", b"2.0"),
    "CONNECT": b"CONNECT localhost:443 HTTP/1.1\r\n" + HOST + b"\r\n",
    "TRACE": get(b"/v1/models").replace(b"GET", b"TRACE"),
}
TOO_LARGE = {
    "10,000 fields": get(b"/healthz", b"".join(b"X%d:1\r\n" % n for n in range(10_000))),
    "10,000 short fields": get(b"/healthz", b"X:\r\n" * 10_000),
    "one long field": get(b"/healthz", b"X: %s\r\n" % (b"x" * 70_000)),
    "long target": get(b"/v1/" + b"x" * 70_000),
    "10,000 trailers": in_chunks(HEX + b"\r\n", b"\r\n0\r\n" + b"X:\r\n" * 10_000 + b"\r\n"),
}
CLOSED = [
    *((400, name, sent) for name, sent in LENGTHS.items()),
    *((400, name, sent) for name, sent in CODINGS.items()),
    *((501, name, sent) for name, sent in FOREIGN_CODINGS.items()),
    *((400, name, sent) for name, sent in BROKEN_CHUNKS.items()),
    *((400, name, sent) for name, sent in BROKEN_HEADS.items()),
    *((501, name, sent) for name, sent in UNSUPPORTED_HEADS.items()),
    *((431, name, sent) for name, sent in TOO_LARGE.items()),
]
NOWHERE = [  # the path of the request, or what somebody could take it for, is not below /v1
    *((403, path) for path in (b"/v1/../healthz", b"/v1/./models", b"/v1/..", b"/v1/a/../../x")),
    *((403, path) for path in (b"/v1/%2e%2e/healthz", b"/v1/%2E./x", b"/v1/%2e/models")),
    *((403, path) for path in (b"/v1/..%2fhealthz", b"/v1/a%2f..%2fx", b"/v1/..%252fx")),
    *((403, path) for path in (b"/v1/..%5cx", b"/v1/..;/x", b"/v1/..%3fx", b"/v1/..%23/x")),
    *((403, path) for path in (b"/v1/..%00/x", b"/v1/a%0d%0ab", b"/v1/%c0%ae%c0%ae/x")),
    *((404, path) for path in (b"/%76%31/models", b"/v1%2fmodels", b"//v1/models", b"/V1/models")),
    *((404, path) for path in (b"/cache%2fstats", b"//cache/stats", b"/%63ache/stats", b"*")),
    *((404, path) for path in (b"//evil.example/v1/models", b"http://localhost/", b"/v1")),
]
TAKEN = {  # odd, and legal or without a second meaning
    "zeros before a length": (sized(b"Content-Length: 000" + SIZE), ASKED),
    "tabs around a length": (sized(b"Content-Length:\t%s\t" % SIZE), ASKED),
    "Chunked": (POST + b"Transfer-Encoding:\tChUnKeD\r\n\r\n" + CHUNKS, ASKED),
    "chunk extensions": (in_chunks(HEX + b';a=b;c="d"\r\n', b"\r\n0;e\r\n\r\n"), ASKED),
    "zeros before a size": (in_chunks(b"000" + HEX + b"\r\n", b"\r\n000\r\n\r\n"), ASKED),
    "a length in Connection": (sized(b"Connection: Content-Length", b"Content-Length: 72"), ASKED),
    "another expectation": (sized(b"Expect: 200-ok", b"Content-Length: " + SIZE), ASKED),
    "empty lines before": (b"\r\n\r\n" + sized(b"Content-Length: " + SIZE), ASKED),
    "absolute form": (get(b"http://localhost/v1/models"), "/v1/models"),
    "absolute form of another host": (get(b"http://evil.example/v1/models"), "/v1/models"),
    "absolute form with a user": (get(b"http://u:p@localhost/v1/models"), "/v1/models"),
    "slash in a name": (get(b"/v1/files%2fx"), "/v1/files%2fx"),
    "empty segment": (get(b"/v1//models"), "/v1//models"),
    "Host with a port": (get(b"/v1/models").replace(b"localhost", b"[::1]:80"), "/v1/models"),
    "empty Host": (get(b"/v1/models").replace(b"localhost", b""), "/v1/models"),
    "letters that are no ASCII": (get(b"/v1/models", "X: é\r\n".encode()), "/v1/models"),
    "a request as the body of a GET": (
        get(b"/v1/models", b"Content-Length: %d\r\n" % len(SMUGGLED)) + SMUGGLED,
        "/v1/models",
    ),
    "a request in a chunk": (
        get(b"/v1/models", b"Transfer-Encoding: chunked\r\n")
        + b"%x\r\n%s\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED),
        "/v1/models",
    ),
}


async def whereabouts(exchange: Exchange) -> None:
    """Answer with the path of the request."""
    await exchange.read()
    await exchange.answer({"path": exchange.path.decode("latin-1")})


@pytest.fixture
async def setup() -> AsyncIterator[tuple[Setup, str, int]]:
    proxy = Setup()
    proxy.upstream.handler = whereabouts
    async with proxy.run_on_socket() as told:
        yield told


def answers_in(raw: bytes) -> list[tuple[int, dict[str, str], bytes]]:
    """Return the status, headers and body of each answer. Any other bytes raise an error."""
    answers = []
    while raw:
        head, _, raw = raw.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        fields = dict(line.lower().split(": ", 1) for line in lines)
        length = int(fields["content-length"])
        answers.append((int(first.split()[1]), fields, raw[:length]))
        assert len(raw) >= length
        raw = raw[length:]
    return answers


def asked_of(proxy: Setup) -> list[str]:
    """Return the paths that the upstream was asked for since the previous call."""
    paths = [exchange.path.decode("latin-1") for exchange in proxy.upstream.exchanges]
    proxy.upstream.exchanges.clear()
    return paths


SPLIT = [100_000, 7]  # bytes a packet


@pytest.mark.parametrize(
    ("status", "sent"),
    [pytest.param(status, sent, id=f"{status} {name}") for status, name, sent in CLOSED],
)
async def test_what_can_be_read_in_two_ways_is_refused_and_nothing_read_behind_it(
    setup: tuple[Setup, str, int], status: int, sent: bytes
) -> None:
    proxy, host, port = setup
    for size in SPLIT if len(sent) < 1000 else SPLIT[:1]:
        raw = await until_closed(host, port, sent + NEXT, size=size)
        ((told, fields, body),) = answers_in(raw)
        assert told == status
        assert fields["connection"] == "close"
        assert json.loads(body)["error"]["message"]
        assert asked_of(proxy) == []


@pytest.mark.parametrize(("status", "target"), NOWHERE)
async def test_what_leads_elsewhere_goes_nowhere_and_the_next_answer_is_that_to_the_next_request(
    setup: tuple[Setup, str, int], status: int, target: bytes
) -> None:
    proxy, host, port = setup
    raw = await until_closed(host, port, get(target) + NEXT)
    (told, _, body), (following, _, document) = answers_in(raw)
    assert (told, following) == (status, 200)
    assert json.loads(body)["error"]["code"] in {"passthrough_disabled", "route_not_found"}
    assert json.loads(document) == {"path": "/v1/next"}
    assert asked_of(proxy) == ["/v1/next"]


@pytest.mark.parametrize(("sent", "path"), TAKEN.values(), ids=TAKEN)
async def test_behind_what_is_odd_the_next_answer_is_that_to_the_next_request(
    setup: tuple[Setup, str, int], sent: bytes, path: str
) -> None:
    proxy, host, port = setup
    for size in SPLIT:
        answers = answers_in(await until_closed(host, port, sent + NEXT, size=size))
        assert [status for status, _, _ in answers] == [200, 200]
        assert [json.loads(body) for _, _, body in answers] == [
            {"path": path},
            {"path": "/v1/next"},
        ]
        assert asked_of(proxy) == [path, "/v1/next"]


@pytest.mark.parametrize(
    ("sent", "asked"),
    [
        (b"", []),
        (POST, []),
        (POST + b"Content-Length: %d\r\n\r\n%s" % (len(BODY) + 1, BODY), []),
        (CHUNKED + HEX + b"\r\n" + BODY + b"\r\n", []),
        (get(b"/v1/models"), ["/v1/models"]),
        (get(b"/v1/models") + NEXT, ["/v1/models", "/v1/next"]),
        (get(b"/v1/models") + NEXT[:-2], ["/v1/models"]),
        (get(b"/v1/models") * 3, ["/v1/models"] * 3),
    ],
)
async def test_whoever_closes_his_side_is_answered_what_he_has_asked_to_the_end(
    setup: tuple[Setup, str, int], sent: bytes, asked: list[str]
) -> None:
    proxy, host, port = setup
    answers = answers_in(await until_closed(host, port, sent, half_close=True))
    assert [json.loads(body)["path"] for _, _, body in answers] == asked
    assert asked_of(proxy) == asked


@pytest.fixture
def many_files() -> Iterator[None]:
    """Raise the limit of open files, because both ends of all connections are in this process."""
    before, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4096 if most == resource.RLIM_INFINITY else min(4096, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before, wanted), most))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (before, most))


@pytest.mark.usefixtures("many_files")
async def test_an_honest_client_is_served_beside_500_connections_that_only_wait(
    setup: tuple[Setup, str, int],
) -> None:
    _, host, port = setup
    beginnings = (b"", b"GET", POST, CHUNKED + b"5\r\n", get(b"/healthz"))
    crowd = []
    for number in range(500):
        _, writer = await asyncio.open_connection(host, port)
        writer.write(beginnings[number % len(beginnings)])
        crowd.append(writer)
    async with httpx.AsyncClient(base_url=f"http://{host}:{port}/v1") as client:
        for number in range(20):
            response = await client.get(f"models/{number}")
            assert response.json() == {"path": f"/v1/models/{number}"}
    assert not any(writer.is_closing() for writer in crowd)
    for writer in crowd:
        writer.close()
