"""One flight serves streamed and unstreamed requests with the same question."""

import asyncio
import json
from typing import Any

import pytest

from app.core.cache_status import Head, Replay
from app.core.errors import UpstreamInterrupted
from app.core.models import ClientRequest, Header
from app.rules.headers import cache_status_value
from tests.bench import Bench, content, gate, read, settle
from tests.fakes import FakeResponse, completion, hang

STREAM_TYPE: Header = (b"content-type", b"text/event-stream")
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
WITH_USAGE: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
WHOLE: dict[str, Any] = {}
STREAMED: dict[str, Any] = {"stream": True}
DONE = b"data: [DONE]\n\n"


def event(*choices: dict[str, Any], **fields: Any) -> bytes:
    return b"data: " + json.dumps({"model": "m", "choices": choices, **fields}).encode() + b"\n\n"


def delta(finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"index": 0, "delta": fields, "finish_reason": finish}


STREAM = [
    event(delta(content="Hi "), usage=None),
    event(delta(content="there"), usage=None),
    event(delta("stop"), usage=None),
    event(usage=USAGE),
    DONE,
]


class Paced(FakeResponse):
    """A response each piece of which waits for a permit."""

    def __init__(self, pieces: list[bytes | Exception], *args: Any, **fields: Any) -> None:
        super().__init__(pieces, *args, **fields)
        self.permits = asyncio.Semaphore(0)

        async def permit(_: int) -> None:
            await self.permits.acquire()

        self.gate = permit

    def let(self, pieces: int) -> None:
        for _ in range(pieces):
            self.permits.release()


def streamed(*pieces: bytes | Exception) -> Paced:
    return Paced([*pieces], headers=[STREAM_TYPE])


Task = asyncio.Task[tuple[Head, bytes]]


async def follow(bench: Bench, *forms: dict[str, Any]) -> list[Task]:
    """Ask the same question in several forms, one after the other."""

    async def ask(form: dict[str, Any]) -> tuple[Head, bytes]:
        return await read(await bench.ask(**form))

    tasks = []
    for form in forms:
        tasks.append(asyncio.create_task(ask(form)))
        await settle()
    return tasks


def told(body: bytes) -> list[dict[str, Any]]:
    *events, done = body.decode().strip().split("\n\n")
    assert done == "data: [DONE]"
    return [json.loads(event.removeprefix("data: ")) for event in events]


def text_of(body: bytes) -> str:
    deltas = [choice["delta"] for chunk in told(body) for choice in chunk["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


def usage_of(body: bytes) -> list[Any]:
    return [chunk["usage"] for chunk in told(body) if chunk.get("usage")]


async def test_who_wants_the_whole_of_a_stream_waits_for_what_it_adds_up_to() -> None:
    bench = Bench()
    response = streamed(*STREAM)
    bench.upstream.answer = lambda _: response
    leader, follower, other = await follow(bench, WITH_USAGE, WHOLE, WHOLE)
    response.let(4)
    await settle()
    assert not follower.done()
    response.let(1)
    assert (await leader)[1] == b"".join(STREAM)
    head, body = await follower
    document = json.loads(body)
    assert document["choices"][0]["message"] == {"role": "assistant", "content": "Hi there"}
    assert (document["object"], document["usage"]) == ("chat.completion", USAGE)
    assert cache_status_value(head.cache_status) == "reprise; fwd=miss; collapsed"
    assert dict(head.headers)[b"content-type"] == b"application/json"
    assert document["id"] != json.loads((await other)[1])["id"]
    assert len(bench.upstream.requests) == 1
    assert bench.count("reprise_collapsed_requests_total") == 2


async def test_who_wants_a_stream_of_a_whole_answer_is_served_when_it_is_there() -> None:
    bench = Bench()
    opened, bench.upstream.before = gate()
    leader, plain, full = await follow(bench, WHOLE, STREAMED, WITH_USAGE)
    opened.set()
    assert content((await leader)[1]) == "Answer to valkey what"
    for follower, usage in ((plain, []), (full, [USAGE])):
        head, body = await follower
        assert text_of(body) == "Answer to valkey what"
        assert usage_of(body) == usage
        assert dict(head.headers)[b"content-type"].startswith(b"text/event-stream")
    assert len(bench.upstream.requests) == 1


async def test_usage_that_only_the_leader_has_asked_for_is_left_out_as_the_stream_runs() -> None:
    bench = Bench()
    response = streamed(b": PROCESSING\n\n", *STREAM)
    bench.upstream.answer = lambda _: response
    leader = await bench.ask(**WITH_USAGE)
    response.let(2)
    follower = await bench.ask(**STREAMED)
    assert not isinstance(follower, Replay)
    await follower.head()
    pieces = aiter(follower)
    comment, _, first = (await anext(pieces)).partition(b"\n\n")
    assert comment == b": PROCESSING"
    assert json.loads(first.removeprefix(b"data: ")) == {
        "model": "m",
        "choices": [delta(content="Hi ")],
    }
    response.let(4)
    rest = b"".join([piece async for piece in pieces])
    assert text_of(first + rest) == "Hi there"
    assert b"usage" not in first + rest
    assert (await read(leader))[1] == b": PROCESSING\n\n" + b"".join(STREAM)
    assert len(bench.upstream.requests) == 1


def never_more_than_asked(request: ClientRequest) -> FakeResponse:
    """Answer with usage only if the form of the request allows usage."""
    assert isinstance(request.body, bytes)
    body = json.loads(request.body)
    if not body.get("stream"):
        return FakeResponse([json.dumps({**completion("Hi there"), "usage": USAGE}).encode()])
    usage = (body.get("stream_options") or {}).get("include_usage")
    return FakeResponse(STREAM if usage else [*STREAM[:3], DONE], headers=[STREAM_TYPE])


@pytest.mark.parametrize("second", [WHOLE, WITH_USAGE])
async def test_who_is_entitled_to_usage_does_not_join_a_flight_without(
    second: dict[str, Any],
) -> None:
    bench = Bench()
    opened, bench.upstream.before = gate()
    bench.upstream.answer = never_more_than_asked
    plain, full, another, late = await follow(bench, STREAMED, second, STREAMED, WHOLE)
    opened.set()
    assert (await plain)[1] == (await another)[1] == b"".join([*STREAM[:3], DONE])
    _, body = await full
    assert (usage_of(body) if "stream" in second else [json.loads(body)["usage"]]) == [USAGE]
    assert json.loads((await late)[1])["usage"] == USAGE
    assert len(bench.upstream.requests) == 2


@pytest.mark.parametrize("first", [WHOLE, WITH_USAGE])
async def test_who_wants_no_usage_joins_a_flight_with_it(first: dict[str, Any]) -> None:
    bench = Bench()
    opened, bench.upstream.before = gate()
    bench.upstream.answer = never_more_than_asked
    _, plain = await follow(bench, first, STREAMED)
    opened.set()
    _, body = await plain
    assert (text_of(body), usage_of(body)) == ("Hi there", [])
    assert len(bench.upstream.requests) == 1


async def test_who_joins_a_stream_whose_usage_does_not_come_asks_for_the_whole() -> None:
    bench = Bench()
    opened, bench.upstream.before = gate()
    whole = FakeResponse([json.dumps({**completion("Hi there"), "usage": USAGE}).encode()])
    stream = FakeResponse([*STREAM[:3], DONE], headers=[STREAM_TYPE])
    bench.upstream.answer = by_form(whole, stream)
    leader, follower = await follow(bench, WITH_USAGE, WHOLE)
    opened.set()
    assert usage_of((await leader)[1]) == []
    assert json.loads((await follower)[1])["usage"] == USAGE
    assert len(bench.upstream.requests) == 2
    assert (await bench.status(**WITH_USAGE)).startswith("hit")


async def test_the_leader_may_leave() -> None:
    bench = Bench()
    response = streamed(*STREAM)
    bench.upstream.answer = lambda _: response
    leader, follower = await follow(bench, WITH_USAGE, WHOLE)
    response.let(2)
    await settle()
    leader.cancel()
    response.let(3)
    assert content((await follower)[1]) == "Hi there"
    assert (await bench.status()).startswith("hit")


@pytest.mark.parametrize(("first", "second"), [(WITH_USAGE, WHOLE), (WHOLE, STREAMED)])
async def test_the_last_one_to_leave_releases_the_upstream(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    bench = Bench()
    response = streamed(*STREAM)
    bench.upstream.answer = lambda _: response
    tasks = await follow(bench, first, second)
    response.let(1)
    await settle()
    for task in tasks:
        assert not response.closed
        task.cancel()
        await settle()
    assert response.closed


async def test_nobody_waits_for_an_upstream_that_never_closes() -> None:
    bench = Bench()
    response = FakeResponse([*STREAM, b""], headers=[STREAM_TYPE])
    opened, bench.upstream.before = gate()
    response.gate = lambda index: hang() if index == 5 else settle()
    bench.upstream.answer = lambda _: response
    leader, follower = await follow(bench, WITH_USAGE, WHOLE)
    opened.set()
    assert content((await follower)[1]) == "Hi there"
    leader.cancel()


@pytest.mark.parametrize(("first", "second"), [(WITH_USAGE, WHOLE), (WHOLE, STREAMED)])
async def test_errors_are_of_no_form(first: dict[str, Any], second: dict[str, Any]) -> None:
    bench = Bench()
    opened, bench.upstream.before = gate()
    bench.upstream.answer = lambda _: FakeResponse([b'{"error":', b"{}}"], 503)
    tasks = await follow(bench, first, second, first, second)
    opened.set()
    answers = [await task for task in tasks]
    assert {(head.status_code, body) for head, body in answers} == {(503, b'{"error":{}}')}
    assert len(bench.upstream.requests) == 1


def by_form(whole: FakeResponse, stream: FakeResponse) -> Any:
    def answer(request: ClientRequest) -> FakeResponse:
        assert isinstance(request.body, bytes)
        return stream if json.loads(request.body).get("stream") else whole

    return answer


CUT = UpstreamInterrupted("cut")
ERROR = b'data: {"error":{"message":"overloaded"}}\n\n'


@pytest.mark.parametrize(
    "pieces",
    [[STREAM[0], CUT], [STREAM[0], ERROR, DONE], [STREAM[0], DONE], [b"data: {\n\n", DONE]],
)
async def test_what_a_stream_does_not_add_up_to_is_asked_for_again_once(pieces: list[Any]) -> None:
    bench = Bench()
    response = streamed(*pieces)
    whole = FakeResponse([json.dumps(completion("SharedAnswer")).encode()])
    bench.upstream.answer = by_form(whole, response)
    leader, *followers = await follow(bench, WITH_USAGE, WHOLE, WHOLE)
    response.let(len(pieces))
    await asyncio.wait([leader])
    answers = [await follower for follower in followers]
    assert [content(body) for _, body in answers] == ["SharedAnswer", "SharedAnswer"]
    statuses = sorted(cache_status_value(head.cache_status) for head, _ in answers)
    assert statuses == ["reprise; fwd=miss", "reprise; fwd=miss; collapsed"]
    assert len(bench.upstream.requests) == 2


@pytest.mark.parametrize(
    "whole",
    [
        FakeResponse([b'{"choices":']),
        FakeResponse([b'{"choices":[]}']),
        FakeResponse([b"[]"]),
        FakeResponse([b"a page"], headers=[(b"content-type", b"text/html")]),
        FakeResponse([b'{"choices":', UpstreamInterrupted("cut")]),
    ],
)
async def test_a_whole_answer_that_is_not_understood_is_asked_for_as_a_stream(
    whole: FakeResponse,
) -> None:
    bench = Bench()
    opened, bench.upstream.before = gate()
    bench.upstream.answer = by_form(whole, FakeResponse([*STREAM], headers=[STREAM_TYPE]))
    leader, follower = await follow(bench, WHOLE, STREAMED)
    opened.set()
    assert (await follower)[1] == b"".join(STREAM)
    await asyncio.wait([leader])
    assert len(bench.upstream.requests) == 2


async def test_an_answer_that_is_not_stored_is_shared_all_the_same() -> None:
    bench = Bench()
    response = streamed(STREAM[0], event(delta("length")), event(usage=USAGE), DONE)
    bench.upstream.answer = lambda _: response
    leader, follower = await follow(bench, WITH_USAGE, WHOLE)
    response.let(4)
    document = json.loads((await follower)[1])
    assert document["choices"][0]["finish_reason"] == "length"
    assert (await leader)[1].endswith(DONE)
    assert len(bench.upstream.requests) == 1
    assert bench.count("reprise_not_stored_total", reason="finish-reason") == 1


async def test_two_calls_that_a_stream_has_under_one_index_are_not_made_one() -> None:
    bench = Bench()
    opened, bench.upstream.before = gate()
    told = [{"index": 0, "id": "", "function": {"name": "f", "arguments": a}} for a in ("{}", "{}")]
    pieces = [event(delta(tool_calls=[call])) for call in told]
    stream = FakeResponse([*pieces, event(delta("tool_calls")), event(usage=USAGE), DONE])
    stream.headers = [STREAM_TYPE]
    calls = [{"id": f"call_{at}", "function": call["function"]} for at, call in enumerate(told)]
    whole = FakeResponse([json.dumps(completion(None, tool_calls=calls)).encode()])
    bench.upstream.answer = by_form(whole, stream)
    _, follower = await follow(bench, WITH_USAGE, WHOLE)
    opened.set()
    assert json.loads((await follower)[1])["choices"][0]["message"]["tool_calls"] == calls
    assert len(bench.upstream.requests) == 2


async def test_nobody_waits_for_the_end_of_an_answer_that_is_too_large_to_be_read() -> None:
    bench = Bench(max_bytes=2000)
    response = streamed(STREAM[0], event(delta(content="a" * 2000)), *STREAM[1:])
    bench.upstream.answer = by_form(FakeResponse([b'{"small":1}']), response)
    leader, follower = await follow(bench, WITH_USAGE, WHOLE)
    response.let(2)
    assert (await follower)[1] == b'{"small":1}'
    assert not leader.done()
    response.let(5)
    assert (await leader)[1].endswith(DONE)


@pytest.mark.parametrize("first", [WHOLE, STREAMED, WITH_USAGE])
@pytest.mark.parametrize("age", [0, 3601])
async def test_a_hit_by_meaning_serves_every_form_and_its_usage(
    first: dict[str, Any], age: int
) -> None:
    bench = Bench(stale_while_revalidate=60)
    await bench.status("valkey what")
    await settle()
    bench.clock.advance(age)
    bench.upstream.before = hang
    opened, bench.embedder.before = gate()

    async def ask(form: dict[str, Any]) -> tuple[Head, bytes]:
        return await read(await bench.ask("valkey what is it", **form))

    tasks = []
    for form in (first, WHOLE, STREAMED, WITH_USAGE):
        tasks.append(asyncio.create_task(ask(form)))
        await settle()
    opened.set()
    answers = [await task for task in tasks]
    assert all("hit" in cache_status_value(head.cache_status) for head, _ in answers)
    _, whole, stream, full = (body for _, body in answers)
    assert json.loads(whole)["usage"] == USAGE
    assert (usage_of(stream), usage_of(full)) == ([], [USAGE])
    assert text_of(stream) == text_of(full) == content(whole)
    assert len(bench.upstream.requests) == (2 if age else 1)


async def test_a_stream_that_is_not_text_is_cut_for_who_needs_it_adapted() -> None:
    bench = Bench()
    response = streamed(b"data: \xff\n\n", *STREAM)
    bench.upstream.answer = lambda _: response
    leader, follower = await follow(bench, WITH_USAGE, STREAMED)
    response.let(6)
    assert (await leader)[1].endswith(DONE)
    with pytest.raises(UpstreamInterrupted):
        await follower
