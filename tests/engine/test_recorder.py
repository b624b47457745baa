import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.cache_status import CacheStatus, Head
from app.core.inflight import Hold, Inflight
from app.core.models import Header
from app.dialects.chat_completions.chunks import chunks_of
from app.dialects.chat_completions.request import ChatRequest
from app.dialects.chunked import without_envelope
from app.dialects.dialect import Answer
from app.engine.recorder import Recorder
from app.rules.limits import Limits
from tests.fakes import completion
from tests.strategies import COMPLETIONS, JSON

JSON_TYPE: Header = (b"content-type", b"application/json; charset=utf-8")
STREAM_TYPE: Header = (b"content-type", b"text/event-stream; charset=utf-8")
DONE = b"data: [DONE]\n\n"


class Recorded:
    """A recording, and what it has kept."""

    def __init__(
        self,
        *headers: Header,
        status_code: int = 200,
        n: int = 1,
        max_bytes: int = 100_000,
        inflight: Inflight | None = None,
    ) -> None:
        body = {"model": "m", "messages": [{"role": "user", "content": "Hello"}], "n": n}
        self.answers: list[Answer] = []
        self.lifetime = 0.0
        parsed = ChatRequest.parse(json.dumps(body).encode())
        self.recording = Recorder(
            Head(status_code, headers, CacheStatus.miss("e")),
            Limits(max_bytes=max_bytes),
            lambda is_stream: parsed.reader(is_stream=is_stream),
            Hold(inflight or Inflight()),
        )

    def play(self, *pieces: bytes, end: bool = True) -> "Recorded":
        for piece in pieces:
            self.recording.feed(piece)
            self._settle()
        if end:
            self.recording.end()
            self._settle()
        return self

    def _settle(self) -> None:
        if self.recording.is_complete and (recorded := self.recording.outcome()):
            self.answers.append(recorded.answer)
            self.lifetime = recorded.freshness_lifetime

    @property
    def reason(self) -> str | None:
        return self.recording.reason or next((a.unfit for a in self.answers if a.unfit), None)

    @property
    def kept(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.unfit is None]

    @property
    def completion(self) -> dict[str, Any]:
        (answer,) = self.kept
        document: dict[str, Any] = json.loads(answer.content)
        return document


def body(**changes: Any) -> bytes:
    return json.dumps({**completion(), **changes}).encode()


def events(*chunks: dict[str, Any]) -> list[bytes]:
    return [b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks]


def told(document: dict[str, Any]) -> list[bytes]:
    return events(*chunks_of(without_envelope(document), include_usage=True))


def test_a_json_answer_is_kept_without_envelope() -> None:
    recorded = Recorded(JSON_TYPE).play(body())
    assert recorded.completion == without_envelope(completion())
    assert recorded.lifetime == 3600
    assert not recorded.kept[0].exact_only


def test_a_streamed_answer_is_kept_as_the_same_completion() -> None:
    recorded = Recorded(STREAM_TYPE).play(*told(completion()), DONE)
    assert recorded.completion == without_envelope(completion())


@given(COMPLETIONS, st.integers(1, 50))
def test_how_the_bytes_arrive_makes_no_difference(document: dict[str, Any], size: int) -> None:
    n = len(document["choices"])
    stream = b"".join([*told(document), DONE])
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    whole = Recorded(STREAM_TYPE, n=n).play(stream)
    cut = Recorded(STREAM_TYPE, n=n).play(*pieces)
    assert (whole.kept, whole.reason) == (cut.kept, cut.reason)


def test_an_answer_is_kept_with_its_last_piece_before_the_end_is_seen() -> None:
    stream = Recorded(STREAM_TYPE).play(*told(completion()), end=False)
    assert not stream.kept
    stream.play(b"data: [DONE]", end=False)
    assert not stream.kept
    stream.play(b"\n", end=False)
    assert stream.kept
    sized = Recorded(JSON_TYPE, (b"content-length", b"%d" % len(body())))
    sized.play(body()[:50], end=False)
    assert not sized.kept
    sized.play(body()[50:], end=False)
    assert sized.kept


def test_what_follows_done_changes_nothing() -> None:
    late = events({"error": {"message": "late"}})
    recorded = Recorded(STREAM_TYPE).play(*told(completion()), DONE, *late, DONE)
    assert len(recorded.kept) == 1
    assert recorded.reason is None


def test_a_stream_without_done_is_complete_if_it_ended_cleanly() -> None:
    assert Recorded(STREAM_TYPE).play(*told(completion())).kept
    cut = Recorded(STREAM_TYPE).play(*told(completion()), end=False)
    assert not cut.kept


def test_a_stream_that_ends_before_every_choice_has_finished_is_not_kept() -> None:
    recorded = Recorded(STREAM_TYPE).play(*told(completion())[:-2], DONE)
    assert (recorded.kept, recorded.reason) == ([], "incomplete")


@pytest.mark.parametrize(
    ("headers", "data", "reason"),
    [
        ([JSON_TYPE], b'{"id":"chatcmpl-bad","choices":[{"index":0,"mess', "not-json"),
        ([JSON_TYPE], b'{"choices":[],"choices":[]}', "ambiguous-json"),
        ([JSON_TYPE], b'["a"]', "unknown-body"),
        ([JSON_TYPE], body(choices=[]), "incomplete"),
        ([JSON_TYPE], body(error={"message": "x"}), "error"),
        ([(b"content-type", b"text/html")], body(), "content-type"),
        ([], body(), "content-type"),
        ([JSON_TYPE, (b"content-encoding", b"br")], body(), "content-encoding"),
        ([JSON_TYPE, (b"content-encoding", b"compress")], body(), "content-encoding"),
        ([JSON_TYPE, (b"content-encoding", b"gzip")], gzip.compress(body())[:-1], "incomplete"),
        ([JSON_TYPE, (b"content-encoding", b"gzip")], gzip.compress(bytes(1 << 25)), "too-large"),
        ([JSON_TYPE, (b"cache-control", b"no-store")], body(), "no-store"),
        ([JSON_TYPE, (b"cache-control", b"max-age=0")], body(), "no-store"),
        ([STREAM_TYPE], b"data: {\n\n", "not-json"),
        ([STREAM_TYPE], b"data: \xff\n\n", "unknown-body"),
        ([STREAM_TYPE], b'event: error\ndata: {"error":{}}\n\n', "unknown-body"),
        ([STREAM_TYPE], b'event: error\ndata: {"choices":[]}\n\n', "unknown-body"),
        ([STREAM_TYPE], DONE, "incomplete"),
        ([STREAM_TYPE], b"", "incomplete"),
    ],
)
def test_what_is_not_a_whole_answer_is_not_kept(
    headers: list[Header], data: bytes, reason: str
) -> None:
    recorded = Recorded(*headers).play(data)
    assert (recorded.kept, recorded.reason) == ([], reason)


@pytest.mark.parametrize("status_code", [201, 206, 400, 429, 500])
def test_only_status_200_is_kept(status_code: int) -> None:
    recorded = Recorded(JSON_TYPE, status_code=status_code).play(body())
    assert (recorded.kept, recorded.reason) == ([], "status")


def test_an_answer_that_is_too_large_is_not_kept() -> None:
    recorded = Recorded(JSON_TYPE, max_bytes=1000).play(b" " * 900, b" " * 101)
    assert (recorded.kept, recorded.reason) == ([], "too-large")


@pytest.mark.parametrize("pieces", [[body()], [body()[:9], body()[9:]]])
def test_a_copy_is_given_up_where_too_much_is_on_its_way(pieces: list[bytes]) -> None:
    inflight = Inflight(len(body()))
    recorded = Recorded(JSON_TYPE, inflight=inflight).play(*pieces)
    assert (recorded.kept, recorded.reason, inflight.held) == ([], "no-room", 0)
    inflight = Inflight(len(body()) + 1)
    recorded = Recorded(JSON_TYPE, inflight=inflight).play(*pieces)
    assert (len(recorded.kept), recorded.reason, inflight.held) == (1, None, len(body()))


def test_the_upstream_may_shorten_the_freshness_of_a_json_answer() -> None:
    recorded = Recorded(JSON_TYPE, (b"cache-control", b"max-age=60")).play(body())
    assert recorded.lifetime == 60


def test_an_answer_that_calls_a_tool_is_exact_only() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    document = completion(None, tool_calls=[call])
    assert Recorded(JSON_TYPE).play(json.dumps(document).encode()).kept[0].exact_only
    assert Recorded(STREAM_TYPE).play(*told(document), DONE).kept[0].exact_only


ANY = JSON | COMPLETIONS | st.fixed_dictionaries({"choices": st.lists(JSON, max_size=3)})


@given(st.lists(ANY, max_size=4))
def test_nothing_that_an_upstream_streams_can_make_it_raise(documents: list[Any]) -> None:
    Recorded(STREAM_TYPE).play(*events(*documents), DONE)


@given(st.binary() | JSON.map(lambda document: json.dumps(document).encode()))
def test_nothing_that_an_upstream_sends_can_make_it_raise(data: bytes) -> None:
    for headers in ([JSON_TYPE], [STREAM_TYPE]):
        Recorded(*headers).play(data)


@pytest.mark.parametrize("headers", [JSON_TYPE, STREAM_TYPE])
def test_an_answer_of_too_many_parts_is_not_kept(headers: Header) -> None:
    answer = b'{"choices":[' + b"{}," * 60_000 + b"{}]}"
    data = answer if headers == JSON_TYPE else b"data: " + answer + b"\n\n"
    recorded = Recorded(headers, max_bytes=1_000_000).play(data)
    assert (recorded.kept, recorded.reason) == ([], "too-complex")


def test_deep_nesting_cannot_make_it_raise() -> None:
    deep = b'{"choices":[{"index":0,"delta":' + b'{"a":' * 900 + b"1" + b"}" * 900 + b"}]}"
    recorded = Recorded(STREAM_TYPE).play(*[b"data: " + deep + b"\n\n"] * 2, DONE)
    assert not recorded.kept


CHUNKS = [
    b'data: {"model":"m","choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n',
    b'data: {"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
]
USAGE = b'"usage":{"total_tokens":5}'


@pytest.mark.parametrize(
    "odd",
    [
        b'data: {"choices":null,%s}\n\n' % USAGE,
        b"data: {%s}\n\n" % USAGE,
        b'event: ping\ndata: {}\n\ndata: {"choices":[],%s}\n\n' % USAGE,
        b'event: ping\ndata: {"type": "ping"}\n\ndata: {"choices":[],%s}\n\n' % USAGE,
        b'event: ping\ndata: 2026-01-01\n\ndata: {"choices":[],%s}\n\n' % USAGE,
        b'data:\n\ndata: {}\n\n: PROCESSING\n\n:\n\ndata: {"choices":[],%s}\n\n' % USAGE,
    ],
)
@pytest.mark.parametrize("at", [0, 1, 2])
def test_odd_chunks_that_do_no_harm_do_not_keep_an_answer_from_being_stored(
    odd: bytes, at: int
) -> None:
    recorded = Recorded(STREAM_TYPE).play(*CHUNKS[:at], odd, *CHUNKS[at:], DONE)
    assert recorded.reason is None
    (answer,) = recorded.kept
    document = json.loads(answer.content)
    assert document["choices"][0]["message"]["content"] == "Hi"
    assert document["usage"] == {"total_tokens": 5}


@pytest.mark.parametrize(
    "odd",
    [
        b'data: {"choices":null}\n\n',
        b'data: {"model":"m"}\n\n',
        b'data: {"error":{"message":"x"},%s}\n\n' % USAGE,
        b'event: ping\ndata: {"choices":1}\n\n',
    ],
)
def test_a_chunk_that_may_be_an_error_keeps_it_from_being_stored(odd: bytes) -> None:
    assert Recorded(STREAM_TYPE).play(*CHUNKS, odd, DONE).kept == []
