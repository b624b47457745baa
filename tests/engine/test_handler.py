import asyncio
import json
from typing import Any

import pytest

from app.core.cache_status import Replay
from app.core.errors import NotCached, UpstreamInterrupted
from app.core.models import Header
from app.dialects.chunked import without_envelope
from app.rules.headers import cache_status_value
from app.stores.memory.store import MemoryStore
from tests.bench import Bench, content, gate, read, settle
from tests.fakes import (
    FakeResponse,
    completion,
    hang,
)

JSON_TYPE: Header = (b"content-type", b"application/json")


async def test_a_miss_is_the_upstreams_answer_byte_for_byte() -> None:
    bench = Bench()
    pieces = [b'{"choices" : [],', b' "odd":1e3 }\n']
    headers = [JSON_TYPE, (b"x-a", b"1"), (b"x-a", b"2")]
    bench.upstream.answer = lambda _: FakeResponse(pieces, 203, headers)
    head, body = await read(await bench.ask())
    assert (head.status_code, list(head.headers), body) == (203, headers, b"".join(pieces))


async def test_the_same_question_hits_at_once_and_later() -> None:
    bench = Bench()
    assert await bench.status() == "fwd=miss"
    assert await bench.status() == "hit; ttl=3600; detail=exact"
    bench.clock.advance(58)
    assert await bench.status() == "hit; ttl=3542; detail=exact"
    bench.clock.advance(3542)
    assert await bench.status() == "fwd=miss"
    assert len(bench.upstream.requests) == 2


async def test_a_paraphrase_hits_with_the_answer_of_the_first() -> None:
    bench = Bench()
    await read(await bench.ask("valkey what"))
    head, body = await read(await bench.ask("valkey is what"))
    assert content(body) == "Answer to valkey what"
    assert (head.cache_status.distance or 1) < 0.1
    assert len(bench.upstream.requests) == 1


async def test_a_request_for_exact_matches_gets_nothing_by_meaning_and_is_not_embedded() -> None:
    bench = Bench()
    exact: Header = (b"x-cache-tier", b"exact")
    await bench.status("valkey what")
    bench.embedder.texts.clear()
    assert await bench.status("valkey is what", exact) == "fwd=miss"
    assert await bench.status("valkey is what") == "hit; ttl=3600; detail=exact"
    assert await bench.status("valkey what", exact) == "hit; ttl=3600; detail=exact"
    with pytest.raises(NotCached):
        await read(await bench.ask("what valkey", exact, (b"cache-control", b"only-if-cached")))
    assert bench.embedder.texts == []


async def test_a_request_for_exact_matches_does_not_join_one_that_meaning_may_answer() -> None:
    bench = Bench()
    await bench.status("valkey what")
    free, bench.embedder.before = gate()
    meant = asyncio.create_task(bench.status("valkey is what"))
    await settle()
    exact = asyncio.create_task(bench.status("valkey is what", (b"x-cache-tier", b"exact")))
    await settle()
    free.set()
    assert (await meant).startswith('hit; ttl=3600; detail="semantic')
    assert await exact == "fwd=miss"


@pytest.mark.parametrize("directive", [b"max-age=60", b"no-cache"])
async def test_the_text_of_a_miss_is_embedded_once_with_the_callers_credentials(
    directive: bytes,
) -> None:
    bench = Bench()
    key: Header = (b"authorization", b"Bearer sk")
    control: Header = (b"cache-control", directive)
    await bench.status("valkey what", key, control, (b"x-a", b"1"))
    await settle()
    assert bench.embedder.texts == ["valkey what"]
    assert bench.embedder.credentials == [[key]]
    assert bench.store.calls.count("put") == 1


async def test_a_hit_carries_no_stored_header() -> None:
    bench = Bench()
    bench.upstream.answer = lambda _: FakeResponse(
        [json.dumps(completion()).encode()], headers=[JSON_TYPE, (b"x-request-id", b"1")]
    )
    await read(await bench.ask())
    head, _ = await read(await bench.ask())
    names = [name for name, _ in head.headers]
    assert names == [b"content-type", b"content-length", b"x-request-id"]
    again, _ = await read(await bench.ask())
    assert len({dict(h.headers)[b"x-request-id"] for h in (head, again)} | {b"1"}) == 3


async def test_an_answer_serves_streamed_and_unstreamed_callers() -> None:
    bench = Bench()
    await read(await bench.ask())
    head, body = await read(await bench.ask(stream=True))
    assert (b"content-type", b"text/event-stream; charset=utf-8") in head.headers
    assert body.endswith(b"data: [DONE]\n\n")
    assert b"Answer to valkey what" in body


async def test_a_new_name_is_given_to_every_replay() -> None:
    bench = Bench()
    names = [json.loads((await read(await bench.ask()))[1])["id"] for _ in range(3)]
    assert len(set(names)) == 3


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ({"store": True}, "store"),
        ({"temperature": 1.5}, "temperature"),
        ({"stream": "yes"}, "unknown-body"),
    ],
)
async def test_a_bypass_goes_on_as_it_came_and_leaves_no_trace(
    fields: dict[str, Any], detail: str
) -> None:
    bench = Bench()
    for _ in range(2):
        assert await bench.status(**fields) == f"fwd=bypass; detail={detail}"
    assert len(bench.upstream.requests) == 2
    assert bench.store.calls == []


async def test_a_body_that_is_not_json_goes_on_as_it_came() -> None:
    bench = Bench()
    bench.upstream.answer = lambda _: FakeResponse([b'{"error":{}}'], 400)
    head, body = await read(await bench.send(b"{not json"))
    assert (head.status_code, body) == (400, b'{"error":{}}')
    assert bench.upstream.requests[0].body == b"{not json"


async def test_the_directives_for_this_cache_do_not_go_upstream() -> None:
    bench = Bench()
    await bench.status("valkey what", (b"cache-control", b"max-age=60"), (b"x-kept", b"1"))
    assert bench.upstream.requests[0].headers == [
        (b"x-kept", b"1"),
        (b"accept-encoding", b"identity"),
    ]
    await bench.status("valkey what", (b"cache-control", b"no-store"), (b"accept-encoding", b"br"))
    assert bench.upstream.requests[1].headers == [(b"accept-encoding", b"br")]


async def test_no_store_neither_reads_nor_writes_nor_joins() -> None:
    bench = Bench()
    await bench.status()
    no_store: Header = (b"cache-control", b"no-store")
    assert await bench.status("valkey what", no_store) == "fwd=bypass; detail=no-store"
    assert await bench.status("pasta how", no_store) == "fwd=bypass; detail=no-store"
    assert await bench.status("pasta how") == "fwd=miss"


async def test_no_cache_asks_again_and_stores_the_new_answer() -> None:
    bench = Bench()
    await bench.status()
    newer = json.dumps(completion("Newer.")).encode()
    bench.upstream.answer = lambda _: FakeResponse([newer])
    assert await bench.status("valkey what", (b"cache-control", b"no-cache")) == "fwd=request"
    assert content((await read(await bench.ask("valkey what")))[1]) == "Newer."
    assert content((await read(await bench.ask("valkey is what")))[1]) == "Newer."


async def test_the_answer_that_no_cache_fetches_carries_the_tags_of_the_old_one() -> None:
    bench = Bench()
    await bench.status("valkey what", (b"x-cache-tags", b"a, b"))
    assert await bench.status("valkey what", (b"cache-control", b"no-cache")) == "fwd=request"
    await settle()
    (stored,) = (await bench.store.memory.scan("", 2)).entries
    assert stored.tagging.tags == {"a", "b"}


async def test_requests_of_other_tags_at_once_do_not_push_each_others_answers_out() -> None:
    bench = Bench()
    opened, bench.upstream.before = gate()
    tagged: list[Header] = [(b"x-cache-tags", tag) for tag in (b"a", b"b", b"c")]
    tasks = [asyncio.create_task(bench.status("valkey what", header)) for header in tagged]
    await settle()
    opened.set()
    assert [await task for task in tasks] == ["fwd=miss"] * 3
    for header in tagged:
        assert (await bench.status("valkey what", header)).startswith("hit")


async def test_no_cache_does_not_join_an_older_flight() -> None:
    bench = Bench()
    _, bench.upstream.before = gate()
    first = asyncio.create_task(bench.status())
    await settle()
    second = asyncio.create_task(bench.status("valkey what", (b"cache-control", b"no-cache")))
    await settle()
    assert len(bench.upstream.requests) == 2
    for task in (first, second):
        task.cancel()


async def test_only_if_cached_never_goes_upstream() -> None:
    bench = Bench()
    only: Header = (b"cache-control", b"only-if-cached")
    with pytest.raises(NotCached):
        await bench.status("valkey what", only)
    await bench.status()
    assert (await bench.status("valkey what", only)).startswith("hit")
    assert (await bench.status("valkey is what", only)).startswith("hit")
    assert len(bench.upstream.requests) == 1


@pytest.mark.parametrize("fields", [{"temperature": 1.5}, {"store": True}, {"stream": "unknown"}])
async def test_only_if_cached_does_not_go_upstream_past_the_cache_either(
    fields: dict[str, Any],
) -> None:
    bench = Bench()
    with pytest.raises(NotCached):
        await bench.ask("valkey what", (b"cache-control", b"only-if-cached"), **fields)
    assert bench.upstream.requests == []


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (FakeResponse([json.dumps(completion()).encode()], 500), "status"),
        (FakeResponse([b'{"choices":'], 200), "not-json"),
        (FakeResponse([json.dumps(completion("")).encode()]), "empty"),
        (FakeResponse([json.dumps(completion("No.", refusal="No.")).encode()]), "refusal"),
    ],
)
async def test_what_is_not_fit_is_passed_on_and_not_stored(
    answer: FakeResponse, reason: str
) -> None:
    bench = Bench()
    bench.upstream.answer = lambda _: answer
    for _ in range(2):
        assert await bench.status() == "fwd=miss"
    assert "put" not in bench.store.calls
    assert bench.count("reprise_not_stored_total", reason=reason) == 2


async def test_a_body_that_breaks_off_is_cut_and_not_stored() -> None:
    bench = Bench()
    whole = json.dumps(completion()).encode()
    bench.upstream.answer = lambda _: FakeResponse([whole, UpstreamInterrupted("cut")])
    answer = await bench.ask()
    assert not isinstance(answer, Replay)
    pieces = aiter(answer)
    assert await anext(pieces) == whole
    with pytest.raises(UpstreamInterrupted):
        await anext(pieces)
    assert bench.upstream.responses[0].closed
    assert "put" not in bench.store.calls


async def test_an_answer_that_calls_a_tool_serves_the_same_question_only() -> None:
    bench = Bench()
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    answer = json.dumps(completion(None, tool_calls=[call])).encode()
    bench.upstream.answer = lambda _: FakeResponse([answer])
    assert await bench.status("valkey what") == "fwd=miss"
    assert await bench.status("valkey is what") == "fwd=miss"
    assert (await bench.status("valkey what")).startswith("hit")


@pytest.mark.parametrize(
    ("part", "detail"), [("store", "store-unavailable"), ("embedder", "embedder-unavailable")]
)
async def test_a_failing_part_costs_no_request(part: str, detail: str) -> None:
    bench = Bench(store_timeout=0.01, embedder_timeout=0.01)
    getattr(bench, part).before = hang
    head, body = await read(await bench.ask())
    assert cache_status_value(head.cache_status) == f"reprise; fwd=miss; detail={detail}"
    assert content(body) == "Answer to valkey what"


async def test_without_embedder_the_same_question_still_hits() -> None:
    bench = Bench(embedder_timeout=0.01)
    bench.embedder.before = hang
    await bench.status()
    assert await bench.status() == "hit; ttl=3600; detail=exact"


async def test_a_stored_response_that_cannot_be_read_is_a_miss() -> None:
    bench = Bench()
    await bench.status()
    await settle()
    (stored,) = (await bench.store.memory.scan("", 2)).entries
    object.__setattr__(stored, "content", b"garbage")
    assert await bench.status() == "fwd=miss"
    assert (await bench.status()).startswith("hit")


async def test_what_is_stored_is_the_answer_without_envelope() -> None:
    bench = Bench()
    bench.upstream.answer = lambda _: FakeResponse([json.dumps(completion()).encode()])
    await bench.status()
    await settle()
    (stored,) = (await bench.store.memory.scan("", 2)).entries
    assert json.loads(stored.content) == without_envelope(completion())
    assert (stored.model, stored.key.text) == ("m", "valkey what")


async def test_a_purge_defeats_answers_that_are_on_their_way() -> None:
    bench = Bench()
    arrived, bench.upstream.before = gate()
    early = await bench.ask()
    await settle()
    await bench.store.purge()
    late = await bench.ask()  # another flight: the early one began before the purge
    arrived.set()
    assert (await read(early))[0].cache_status.collapsed is False
    assert (await read(late))[0].cache_status.collapsed is False
    await settle()
    assert len(bench.upstream.requests) == 2
    (stored,) = (await bench.store.memory.scan("", 2)).entries
    assert stored.epoch == bench.store.epoch
    assert (await bench.status()).startswith("hit")


async def test_an_answer_that_was_asked_for_before_a_purge_is_not_stored() -> None:
    bench = Bench()
    arrived, bench.upstream.before = gate()
    answer = await bench.ask()
    await settle()
    await bench.store.purge()
    arrived.set()
    await read(answer)
    await settle()
    assert await bench.status() == "fwd=miss"


async def test_an_older_answer_does_not_take_the_place_of_the_one_that_no_cache_fetched() -> None:
    bench = Bench()
    slow, bench.upstream.before = gate()
    bench.upstream.answer = lambda _: FakeResponse([json.dumps(completion("older")).encode()])
    older = await bench.ask()
    await settle()
    bench.upstream.before = None
    bench.upstream.answer = lambda _: FakeResponse([json.dumps(completion("newer")).encode()])
    await read(await bench.ask("valkey what", (b"cache-control", b"no-cache")))
    bench.upstream.answer = lambda _: FakeResponse([json.dumps(completion("older")).encode()])
    slow.set()
    _, body = await read(older)
    assert content(body) == "older"
    await settle()
    _, body = await read(await bench.ask())
    assert content(body) == "newer"


async def test_a_large_answer_is_read_off_the_event_loop_and_stored() -> None:
    bench = Bench()
    large = json.dumps(completion("word " * 100_000)).encode()
    bench.upstream.answer = lambda _: FakeResponse([large[:300_000], large[300_000:]])
    _, body = await read(await bench.ask())
    assert body == large
    await settle()
    assert (await bench.status()).startswith("hit")


@pytest.mark.parametrize("again", ["valkey what", "valkey is what"])
async def test_what_answers_counts_as_used_and_what_is_only_found_does_not(again: str) -> None:
    bench = Bench()
    bench.store.memory = MemoryStore(2, bench.clock, lambda _kind, _reason: None)
    for text in ("valkey what", "pasta how"):
        await bench.status(text)
        await settle()
    assert (await bench.status(again)).startswith("hit")
    await bench.status("tea when")  # takes the place of the least recently used
    await settle()
    assert (await bench.status("valkey what")).startswith("hit")
    assert (await bench.status("pasta how")).startswith("fwd=miss")
