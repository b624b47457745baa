"""The engine serves an API that its code does not mention."""

import asyncio
import json
from typing import Any

import pytest

from app.core.models import ClientRequest
from app.dialects.dialect import Dialect
from app.rules.headers import cache_status_value
from tests.bench import Bench, read
from tests.engine.toy_dialect import Toy
from tests.fakes import FakeResponse

TOY: Dialect = Toy()
JSON = b"application/json"
STREAM = b"text/event-stream"


def upstream(request: ClientRequest) -> FakeResponse:
    asked = json.loads(request.body if isinstance(request.body, bytes) else b"{}")
    if asked.get("stream"):
        return FakeResponse(
            [b"data: valkey\n\n", b"data: caches\n\ndata: end\n\n"],
            headers=[(b"content-type", STREAM)],
        )
    return FakeResponse([b'{"say": "valkey caches"}'], headers=[(b"content-type", JSON)])


@pytest.fixture
def bench() -> Bench:
    bench = Bench()
    bench.upstream.answer = upstream
    return bench


async def ask(bench: Bench, ask: str, **fields: Any) -> tuple[str, bytes]:
    body = json.dumps({"model": "m", "ask": ask, **fields}).encode()
    request = ClientRequest("POST", b"/toy", b"", [], body)
    head, told = await read(await bench.handler.handle(TOY, request, body))
    return cache_status_value(head.cache_status).removeprefix("reprise; "), told


WHOLE = b'{"say": "valkey caches"}'
EVENTS = b"data: valkey\n\ndata: caches\n\ndata: end\n\n"


@pytest.mark.parametrize(("first", "first_body"), [(False, WHOLE), (True, EVENTS)])
@pytest.mark.parametrize(("second", "second_body"), [(False, WHOLE), (True, EVENTS)])
async def test_an_answer_in_one_form_serves_another(
    bench: Bench, first: bool, first_body: bytes, second: bool, second_body: bytes
) -> None:
    assert await ask(bench, "valkey what", stream=first) == ("fwd=miss", first_body)
    status, body = await ask(bench, "valkey what", stream=second)
    assert (status, body) == ("hit; ttl=3600; detail=exact", second_body)
    status, body = await ask(bench, "valkey is what", stream=second)
    assert (status.partition(";")[0], body) == ("hit", second_body)
    assert len(bench.upstream.requests) == 1


async def test_what_must_match_and_what_goes_past_the_cache_is_the_dialects_to_say(
    bench: Bench,
) -> None:
    assert (await ask(bench, "valkey what", tone="calm"))[0] == "fwd=miss"
    assert (await ask(bench, "valkey what", tone="loud"))[0] == "fwd=miss"
    assert (await ask(bench, "valkey what", tone="wild"))[0] == "fwd=bypass; detail=temperature"


async def test_requests_of_one_key_share_one_fetch_whatever_their_form(bench: Bench) -> None:
    told = await asyncio.gather(
        *(ask(bench, "valkey what", stream=stream) for stream in (True, False, True))
    )
    assert [body for _, body in told] == [EVENTS, WHOLE, EVENTS]
    assert [status for status, _ in told] == ["fwd=miss", *["fwd=miss; collapsed"] * 2]
    assert len(bench.upstream.requests) == 1


async def test_explain_prints_the_decisions_about_it(bench: Bench) -> None:
    await ask(bench, "valkey what")
    body = json.dumps({"model": "m", "ask": "valkey what"}).encode()
    request = ClientRequest("POST", b"/toy", b"", [], body)
    told = await bench.explainer.explain(TOY, request, body)
    assert told.status
    assert cache_status_value(told.status) == "reprise; hit; ttl=3600; detail=exact"


async def test_what_is_stored_of_it_bears_its_name(bench: Bench) -> None:
    await ask(bench, "valkey what")
    await ask(bench, "valkey what")  # which waits until it is stored
    (stored,) = (await bench.store.memory.scan("", 10)).entries
    assert stored.dialect == "toy"
    assert bench.metrics.registry.get_sample_value("reprise_stored_total", {"kind": "toy"}) == 1
