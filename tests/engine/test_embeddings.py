"""The path of an embeddings request through the engine, with fakes for all ports."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from app.core.cache_status import Head
from app.core.errors import NotCached, UpstreamTimeout, UpstreamUnreachable
from app.core.models import ClientRequest, Header
from app.dialects.embeddings import Embeddings
from app.engine.handler import Reply
from app.rules.headers import cache_status_value
from tests.bench import Bench as ChatBench
from tests.bench import gate, read, settle
from tests.fakes import FakeResponse, embeddings_json, numbers

EMBEDDINGS = Embeddings()
NO_CACHE: Header = (b"cache-control", b"no-cache")


class Bench:
    """The engine for embeddings, with fakes for all ports."""

    def __init__(self, **limits: Any) -> None:
        bench = ChatBench(**limits)
        bench.upstream.answer = lambda request: FakeResponse([embeddings_json(request)])
        self.clock, self.store, self.upstream = bench.clock, bench.store, bench.upstream
        self.metrics, self.handler = bench.metrics, bench.handler
        self.part, self.engine = bench.embeddings, bench.engine

    async def ask(self, value: Any, *headers: Header, **fields: Any) -> Reply:
        body = json.dumps({"model": "m", "input": value, **fields}).encode()
        request = ClientRequest("POST", b"/embeddings", b"", headers, body)
        return await self.handler.handle(EMBEDDINGS, request, body)

    async def told(self, value: Any, *headers: Header, **fields: Any) -> tuple[str, list[Any]]:
        """Ask, and return the cache status and the embeddings."""
        head, body = await read(await self.ask(value, *headers, **fields))
        await settle()
        return status(head), [item["embedding"] for item in json.loads(body)["data"]]

    @property
    def asked(self) -> list[Any]:
        """The inputs of each request to the upstream."""
        bodies = [request.body for request in self.upstream.requests]
        return [json.loads(body)["input"] for body in bodies if isinstance(body, bytes)]


def status(head: Head) -> str:
    return cache_status_value(head.cache_status).removeprefix("reprise; ")


def expected(*inputs: Any) -> list[list[float]]:
    return [numbers(item) for item in inputs]


HIT = "hit; ttl=3600; detail=exact"


async def test_a_miss_goes_on_as_it_came_and_a_repeat_hits() -> None:
    bench = Bench()
    assert await bench.told(["a", "b"]) == ("fwd=miss", expected("a", "b"))
    assert await bench.told(["a", "b"]) == (HIT, expected("a", "b"))
    assert bench.asked == [["a", "b"]]
    (request,) = bench.upstream.requests
    assert request.body == b'{"model": "m", "input": ["a", "b"]}'


async def test_on_a_miss_the_bytes_are_the_upstreams() -> None:
    bench = Bench()
    _, body = await read(await bench.ask("a"))
    assert body == embeddings_json(bench.upstream.requests[0])


@pytest.mark.parametrize("value", ["a", ["a"], [1, 2], [[1, 2], [3]]])
async def test_every_form_of_input_is_cached(value: Any) -> None:
    bench = Bench()
    first = await bench.told(value)
    again = await bench.told(value)
    assert (first[0], again) == ("fwd=miss", (HIT, first[1]))


async def test_only_what_is_missing_is_asked_for_and_the_order_is_kept() -> None:
    bench = Bench()
    await bench.told(["a", "b"])
    assert await bench.told(["c", "b", "d", "a", "c"]) == (
        "fwd=partial",
        expected("c", "b", "d", "a", "c"),
    )
    assert bench.asked == [["a", "b"], ["c", "d"]]
    assert await bench.told(["d", "c"]) == (HIT, expected("d", "c"))


async def test_usage_is_what_the_upstream_would_count() -> None:
    bench = Bench()
    used = []
    for value in (["a", "b b"], ["b b", "c c c"], ["a", "c c c"]):
        _, body = await read(await bench.ask(value))
        await settle()
        used.append(json.loads(body)["usage"])
    assert used == [{"prompt_tokens": n, "total_tokens": n} for n in (3, 5, 4)]


async def test_a_text_and_its_tokens_are_two_inputs() -> None:
    bench = Bench()
    await bench.told("1")
    assert (await bench.told([1]))[0] == "fwd=miss"
    assert (await bench.told([1, 1]))[0] == "fwd=miss"
    assert (await bench.told([[1], [1, 1]]))[0] == HIT


@pytest.mark.parametrize(
    "fields", [{"model": "n"}, {"dimensions": 3}, {"input_type": "query"}, {"unknown": None}]
)
async def test_what_may_change_an_embedding_makes_another_one(fields: dict[str, Any]) -> None:
    bench = Bench()
    await bench.told("a")
    assert (await bench.told("a", **fields))[0] == "fwd=miss"


@pytest.mark.parametrize("fields", [{"user": "u"}, {"encoding_format": "float"}])
async def test_what_does_not_change_an_embedding_takes_no_part(fields: dict[str, Any]) -> None:
    bench = Bench()
    await bench.told("a")
    assert (await bench.told("a", **fields))[0] == HIT


async def test_both_encodings_are_right_from_one_stored_form() -> None:
    bench = Bench()
    for first, second in (("float", "base64"), ("base64", "float")):
        value = f"{first} first"
        _, asked = await bench.told(value, encoding_format=first)
        label, other = await bench.told(value, encoding_format=second)
        told = {first: asked, second: other}
        assert label == HIT
        assert told["float"] == expected(value)
        assert told["base64"] == [numbers(value, "base64")]


async def test_another_credential_is_another_partition() -> None:
    bench = Bench()
    await bench.told("a", (b"authorization", b"Bearer 1"))
    assert (await bench.told("a", (b"authorization", b"Bearer 2")))[0] == "fwd=miss"


async def test_request_directives_hold() -> None:
    bench = Bench()
    only: Header = (b"cache-control", b"only-if-cached")
    with pytest.raises(NotCached):
        await bench.ask("a", only)
    await bench.told("a")
    assert (await bench.told("a", only))[0] == HIT
    with pytest.raises(NotCached):
        await bench.ask(["a", "b"], only)
    assert (await bench.told("a", NO_CACHE))[0] == "fwd=request"
    bench.clock.advance(10)
    assert (await bench.told("a", (b"cache-control", b"max-age=9")))[0] == "fwd=miss"
    assert (await bench.told("b", (b"cache-control", b"no-store")))[0] == (
        "fwd=bypass; detail=no-store"
    )
    assert (await bench.told("b"))[0] == "fwd=miss"


async def test_an_embedding_is_gone_when_its_time_is_up() -> None:
    bench = Bench(ttl=60.0)
    await bench.told(["a"])
    bench.clock.advance(40)
    await bench.told(["b"])
    assert (await bench.told(["a", "b"]))[0] == "hit; ttl=20; detail=exact"
    bench.clock.advance(20)
    assert await bench.told(["a", "b"]) == ("fwd=partial", expected("a", "b"))


async def test_concurrent_requests_for_the_same_inputs_ask_once() -> None:
    bench = Bench()
    arrived, bench.upstream.before = gate()
    answers = [await bench.ask(["a", "b"]) for _ in range(5)]
    await settle()
    arrived.set()
    results = [await read(answer) for answer in answers]
    assert len({body for _, body in results}) == 1
    assert [status(head) for head, _ in results] == ["fwd=miss"] + ["fwd=miss; collapsed"] * 4
    assert bench.asked == [["a", "b"]]


async def test_inputs_that_are_on_their_way_are_waited_for_and_not_asked_for_again() -> None:
    bench = Bench()
    await bench.told("s")
    arrived, bench.upstream.before = gate()
    batches = (["a", "b"], ["b", "c"], ["c", "a"], ["s", "b"], ["b"])
    answers = [await bench.ask(batch) for batch in batches]
    await settle()
    arrived.set()
    results = [await read(answer) for answer in answers]
    assert [status(head) for head, _ in results] == [
        "fwd=miss",
        "fwd=miss; collapsed",
        "fwd=miss; collapsed",
        "fwd=partial; collapsed",
        "fwd=miss; collapsed",
    ]
    for batch, (_, body) in zip(batches, results, strict=True):
        assert [item["embedding"] for item in json.loads(body)["data"]] == expected(*batch)
    assert bench.asked == ["s", ["a", "b"], ["c"]]


async def test_a_request_that_must_not_be_answered_from_the_cache_joins_nothing() -> None:
    bench = Bench()
    arrived, bench.upstream.before = gate()
    answers = [await bench.ask("a"), await bench.ask("a", NO_CACHE)]
    await settle()
    arrived.set()
    assert [status((await read(answer))[0]) for answer in answers] == ["fwd=miss", "fwd=request"]
    assert len(bench.asked) == 2


async def test_the_first_client_may_leave_and_the_last_one_releases_the_upstream() -> None:
    bench = Bench()
    arrived, bench.upstream.before = gate()
    first, second = await bench.ask(["a"]), await bench.ask(["a", "b"])
    await settle()
    await first.aclose()  # type: ignore[union-attr]
    arrived.set()
    _, body = await read(second)
    assert [item["embedding"] for item in json.loads(body)["data"]] == expected("a", "b")

    bench = Bench()
    bench.upstream.before = asyncio.Event().wait  # type: ignore[assignment]
    third, fourth = await bench.ask(["a"]), await bench.ask(["a", "b"])
    await settle()
    for answer in (third, fourth):
        await answer.aclose()  # type: ignore[union-attr]
    await settle()
    assert not bench.engine._embeddings._under_way


async def test_an_error_reaches_all_who_wait_for_it_and_is_not_stored() -> None:
    bench = Bench()
    error = b'{"error": {"message": "slow down"}}'
    bench.upstream.answer = lambda _: FakeResponse([error], 429)
    arrived, bench.upstream.before = gate()
    answers = [await bench.ask(batch) for batch in (["a"], ["a"], ["a", "b"])]
    await settle()
    arrived.set()
    for answer in answers:
        head, body = await read(answer)
        assert (head.status_code, body) == (429, error)
    bench.upstream.answer = lambda request: FakeResponse([embeddings_json(request)])
    assert (await bench.told(["a", "b"]))[0] == "fwd=miss"


@pytest.mark.parametrize("trouble", [UpstreamUnreachable, UpstreamTimeout])
async def test_an_upstream_that_is_gone_fails_all_who_wait_for_it(
    trouble: type[Exception],
) -> None:
    bench = Bench()
    await bench.told("s")

    async def fail() -> None:
        raise trouble

    bench.upstream.before = fail
    for answer in [await bench.ask(batch) for batch in (["a"], ["s", "a"], ["a", "b"])]:
        with pytest.raises(trouble):
            await read(answer)


async def test_a_part_that_breaks_off_is_an_error_and_not_half_an_answer() -> None:
    bench = Bench()
    await bench.told("s")
    bench.upstream.answer = lambda request: FakeResponse(
        [embeddings_json(request)[:20], UpstreamUnreachable("cut")]
    )
    with pytest.raises(UpstreamUnreachable):
        await read(await bench.ask(["s", "a"]))


def odd(model: str, dimensions: int) -> bytes:
    data = [{"object": "embedding", "index": 0, "embedding": [0.5] * dimensions}]
    return json.dumps({"object": "list", "data": data, "model": model}).encode()


@pytest.mark.parametrize(
    "part", [b"not json", odd("another", 4), odd("m", 3)], ids=["nonsense", "model", "dimensions"]
)
async def test_a_part_that_does_not_fit_makes_the_whole_request_go_on(part: bytes) -> None:
    bench = Bench()
    await bench.told("s")
    replies = iter([part, b"the whole answer"])
    bench.upstream.answer = lambda _: FakeResponse([next(replies)])
    _, body = await read(await bench.ask(["s", "a"]))
    assert body == b"the whole answer"
    assert bench.asked[1:] == [["a"], ["s", "a"]]


async def test_embeddings_of_two_models_never_share_an_answer() -> None:
    bench = Bench()
    await bench.told("a")
    bench.upstream.answer = lambda _: FakeResponse([odd("newer", 4)])
    await bench.told("b")
    bench.upstream.answer = lambda request: FakeResponse([embeddings_json(request)])
    assert (await bench.told(["a", "b"]))[0] == "fwd=miss"
    assert bench.asked[-1] == ["a", "b"]


@pytest.mark.parametrize(
    ("pieces", "status_code", "headers"),
    [
        ([b"not json"], 200, ()),
        ([b"{}"], 200, ()),
        (None, 201, ()),
        (None, 200, [(b"cache-control", b"no-store")]),
        (None, 200, [(b"content-encoding", b"compress")]),
    ],
)
async def test_what_is_not_fit_to_be_stored_is_not(
    pieces: Sequence[bytes] | None, status_code: int, headers: Sequence[Header]
) -> None:
    bench = Bench()
    bench.upstream.answer = lambda request: FakeResponse(
        pieces or [embeddings_json(request)],
        status_code,
        [(b"content-type", b"application/json"), *headers],
    )
    for _ in range(2):
        head, _body = await read(await bench.ask("a"))
        assert status(head) == "fwd=miss"
    assert len(bench.asked) == 2


async def test_a_failing_store_is_a_miss_that_says_so() -> None:
    bench = Bench()

    async def fail() -> None:
        raise RuntimeError

    bench.store.before = fail
    assert await bench.told(["a"]) == ("fwd=miss; detail=store-unavailable", expected("a"))


async def test_a_purge_defeats_embeddings_that_are_on_their_way() -> None:
    bench = Bench()
    arrived, bench.upstream.before = gate()
    answer = await bench.ask("a")
    await settle()
    await bench.store.purge()
    later = await bench.ask("a")
    arrived.set()
    await read(answer)
    assert status((await read(later))[0]) == "fwd=miss"
    await settle()
    assert bench.asked == ["a", "a"]
    assert (await bench.told("a"))[0] == HIT


async def test_a_second_look_finds_what_was_stored_meanwhile() -> None:
    """B's first look misses, A's flight starts and ends, and only then does B start its own."""
    bench = Bench()
    looked = asyncio.Event()

    async def slow() -> None:
        bench.store.before = None
        await looked.wait()
        bench.store.given = [None]  # what there was when the look-up began
        bench.store.before = up_to_date

    async def up_to_date() -> None:
        bench.store.given = None

    bench.store.before = slow
    late = asyncio.create_task(bench.ask("a"))
    await settle()
    await bench.told("a")
    looked.set()
    assert status((await read(await late))[0]) == HIT
    assert bench.asked == ["a"]


def with_extras(request: ClientRequest) -> FakeResponse:
    document = json.loads(embeddings_json(request))
    for item in document["data"]:
        item["sparse"] = {}
    return FakeResponse([json.dumps(document).encode()])


async def test_items_that_hold_more_are_put_together_and_not_stored() -> None:
    bench = Bench()
    bench.upstream.answer = with_extras
    arrived, bench.upstream.before = gate()
    answers = [await bench.ask(batch) for batch in (["a", "b"], ["b", "c"])]
    await settle()
    arrived.set()
    for batch, answer in zip((["a", "b"], ["b", "c"]), answers, strict=True):
        _, body = await read(answer)
        assert [item["embedding"] for item in json.loads(body)["data"]] == expected(*batch)
    assert bench.asked == [["a", "b"], ["c"]]
    await settle()
    assert (await bench.told(["a"]))[0] == "fwd=miss"


async def test_who_may_be_treated_otherwise_joins_no_other_batch() -> None:
    bench = Bench()
    opened, bench.upstream.before = gate()
    tasks = [asyncio.create_task(bench.told("a", **fields)) for fields in ({}, {"user": "u"}, {})]
    await settle()
    opened.set()
    assert [(await task)[0] for task in tasks] == ["fwd=miss", "fwd=miss", "fwd=miss; collapsed"]
    assert bench.asked == ["a", "a"]


@pytest.mark.parametrize("wanted", ["a", ["a", "b"]])
async def test_who_has_joined_a_batch_that_is_refused_asks_anew(wanted: Any) -> None:
    bench = Bench()
    opened, bench.upstream.before = gate()
    answer = bench.upstream.answer

    def only_the_first(request: ClientRequest) -> FakeResponse:
        is_first = request is bench.upstream.requests[0]
        return FakeResponse([b'{"error":{}}'], 400) if is_first else answer(request)

    bench.upstream.answer = only_the_first
    first = asyncio.create_task(bench.ask("a"))
    await settle()
    second = asyncio.create_task(bench.ask(wanted))
    await settle()
    opened.set()
    assert (await read(await first))[0].status_code == 400
    assert (await read(await second))[0].status_code == 200
