"""The readers of untrusted bytes, each as a function that may only raise expected errors.

`tests/project/test_fuzz.py` calls them with data from hypothesis, `benchmarks/fuzz.py` with data
from atheris.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Any, NamedTuple

from app.core.cache_status import CacheStatus, Outcome
from app.core.content_codings import decoder_for
from app.core.errors import NotUnderstood
from app.core.models import CacheKey, ClientRequest, Header, StoredEmbedding, StoredResponse
from app.dialects.chat_completions.chunks import chunks_of
from app.dialects.chat_completions.request import ChatCompletions
from app.dialects.completions.request import Completions
from app.dialects.dialect import Dialect
from app.dialects.embeddings import Embeddings
from app.dialects.messages.events import events_of
from app.dialects.messages.request import Messages
from app.dialects.responses.replay import stream_of
from app.dialects.responses.request import Responses
from app.dialects.sse import EventParser, encode_comment, encode_event
from app.rules.directives import directives
from app.rules.headers import accepts_coding, credentials, end_to_end
from app.rules.key import Isolation, KeyRules, build_key
from app.rules.key_parts import key_parts
from app.rules.sharing import asker_of, presented_keys
from app.stores.codec import fields_bytes, fields_of
from app.stores.portable import Portable, line_of, portable_of
from app.stores.seal import Seal
from tests.core.test_content_codings import CODERS
from tests.dialects import test_hostile as documents

NOW = 1_700_000_000.0
RULES = KeyRules("https://upstream.example/v1", isolation=Isolation.USER)
SHARED = KeyRules("https://upstream.example/v1", isolation=Isolation.SHARED)
DIALECTS: Sequence[Dialect] = (ChatCompletions(), Completions(), Messages(), Responses())
BY_NAME = {dialect.name: dialect for dialect in DIALECTS}
LONGEST = 1 << 24  # bytes; compressed data may expand to at most this here
LARGEST_PIECE = 1 << 17  # bytes; 64 kB at most, about


class Target(NamedTuple):
    """A reader, the errors by which it refuses data, and example data to start from (seeds)."""

    work: Callable[[bytes], None]
    refusals: tuple[type[Exception], ...]
    seeds: Sequence[bytes]

    def reads(self, data: bytes) -> bool:
        """Whether data are accepted; False if they are refused. Any other error is a bug."""
        try:
            self.work(data)
        except self.refusals:
            return False
        return True


def written(document: Any) -> bytes:
    return json.dumps(document).encode()


def reads_request(dialect: Dialect) -> Callable[[bytes], None]:
    """Return a reader that parses a body and uses the result as the engine does."""

    def read(body: bytes) -> None:
        request: Any = dialect.parse(body)
        asked = ClientRequest("POST", b"/route", b"", [])
        build_key(asked, request, RULES)
        key_parts(asked, request, RULES)
        request.bypass_reason(1.0)
        hash((request.question, request.treatment, *request.instructions, *(request.texts or ())))

    return read


def reads_answer(dialect: Dialect, asked: Any, *, is_stream: bool) -> Callable[[bytes], None]:
    """Return a reader that reads an answer in pieces and renders it in two forms."""
    requests: list[Any] = [
        dialect.parse(written({**asked, "stream": streams})) for streams in (False, True)
    ]

    def read(body: bytes) -> None:
        reader = requests[is_stream].reader(is_stream=is_stream)
        narrow = requests[1 - is_stream].narrowing(requests[is_stream].form)
        for at in range(0, len(body), 60):
            reader.feed(body[at : at + 60])
            if narrow is not None:
                narrow.feed(body[at : at + 60])
        reader.end()
        answer = reader.read()
        for request in requests if answer.unfit is None else ():
            with suppress(ValueError):  # an answer that cannot be read is a miss
                request.render(answer.content, CacheStatus(Outcome.HIT), nonce="0" * 32, now=1)

    return read


def read_embeddings(body: bytes) -> None:
    Embeddings().parse(body)


def read_events(stream: bytes) -> None:
    parser = EventParser(keeps_comments=True)
    for event in [*parser.feed(stream[:50]), *parser.feed(stream[50:]), *parser.flush()]:
        encode_event(event)
    for comment in parser.comments():
        encode_comment(comment)


def headers_in(raw: bytes) -> list[Header]:
    """Return lines as headers, as the HTTP parser would pass them on."""
    lines = (line.partition(b":") for line in raw.replace(b"\r", b"\n").split(b"\n"))
    return [(name.strip().lower(), value.strip()) for name, _, value in lines]


def read_headers(raw: bytes) -> None:
    lines = headers_in(raw)
    told = directives(lines)
    assert told.ttl is None or told.ttl >= 0
    assert told.max_distance is None or told.max_distance >= 0
    request = ChatCompletions().parse(written(documents.CHAT))
    for rules in (RULES, SHARED):
        asked = ClientRequest("POST", b"/chat/completions", b"", end_to_end(lines))
        build_key(asked, request, rules)
        key_parts(asked, request, rules)
        asker_of(lines, rules)
    presented_keys(lines)
    credentials(lines)
    accepts_coding(lines, "gzip, br")


STORED = StoredResponse(
    CacheKey("a" * 64, "b" * 64, "What?"), "m", written(documents.REPLY), NOW, 60.0, "e1"
)
EMBEDDING = StoredEmbedding("d", "m", bytes(16), 4, NOW, 60.0, "e1")


def reads_stored(secret: bytes, *, is_embedding: bool) -> Callable[[bytes], None]:
    """Return a reader of an entry's fields; with a secret, only the original entry is accepted."""
    seal = Seal(secret)
    written_as = EMBEDDING if is_embedding else STORED
    read_one = seal.embedding_of if is_embedding else seal.response_of

    def read(raw: bytes) -> None:
        stored = read_one(written_as.id, fields_of(raw))
        assert not secret or stored == written_as
        stored.left(NOW)

    return read


def read_line(line: bytes) -> None:
    """Read a line of an import; check that exporting and reading it again gives the same."""
    portable = portable_of(line, NOW, BY_NAME)
    again = None if portable is None else portable_of(line_of(portable), NOW, BY_NAME)
    assert (again and again.stored) == (portable and portable.stored)


def reads_coding(coding: str) -> Callable[[bytes], None]:
    """Return a reader that decodes a content coding and checks the size of each piece."""

    def read(data: bytes) -> None:
        decoder = decoder_for(coding)
        assert decoder is not None
        size = 0
        for piece in decoder.feed(data):
            size += len(piece)
            assert len(piece) <= LARGEST_PIECE
            if size > LONGEST:
                return
        if not decoder.is_finished:
            raise ValueError("it is cut")

    return read


ASKED = {
    "chat_completion": (
        documents.CHAT,
        documents.REPLY,
        [*chunks_of(documents.REPLY, include_usage=True)],
    ),
    "completion": (documents.PROMPT, documents.COMPLETION, documents.CHUNKS),
    "message": (documents.REQUEST, documents.MESSAGE, [*events_of(documents.MESSAGE, "msg")]),
    "response": (
        documents.ASKING,
        documents.RESPONSE,
        documents.told_by([*stream_of(documents.RESPONSE)]),
    ),
}
HEADERS = (
    b"cache-control: max-age=3, no-cache, max-stale, stale-if-error=5\nx-cache-ttl: 9",
    b"authorization: Bearer sk-a\ncookie: a=b; AWSALB=c\nx-cache-tags: a, b\nx-cache-namespace: n",
    b"connection: x-a, close\nx-cache-max-distance: 0.1\naccept-encoding: gzip;q=0, br\norigin: *",
)


def _of_dialects() -> Iterator[tuple[str, Target]]:
    for name, (asked, whole, events) in ASKED.items():
        dialect = BY_NAME[name]
        yield f"{name} request", Target(reads_request(dialect), (NotUnderstood,), [written(asked)])
        bad = (NotUnderstood, UnicodeDecodeError)
        for is_stream, seed in ((False, written(whole)), (True, documents.stream(events))):
            work = reads_answer(dialect, asked, is_stream=is_stream)
            yield f"{name} {'stream' if is_stream else 'answer'}", Target(work, bad, [seed])


def _of_stores() -> Iterator[tuple[str, Target]]:
    lines = [line_of(Portable(STORED)), b'{"cursor": "x"}']
    yield "line", Target(read_line, (ValueError,), lines)
    for name, secret in (("", b""), (" under a secret", b"s" * 32)):
        seal = Seal(secret)
        response, embedding = seal.response_fields(STORED), seal.embedding_fields(EMBEDDING)
        for kind, fields in (("response", response), ("embedding", embedding)):
            work = reads_stored(secret, is_embedding=kind == "embedding")
            yield f"stored {kind}{name}", Target(work, (ValueError,), [fields_bytes(fields)])


TARGETS: Mapping[str, Target] = MappingProxyType(
    {
        "embeddings": Target(
            read_embeddings, (NotUnderstood,), [b'{"model": "m", "input": ["a", "b"]}']
        ),
        "events": Target(
            read_events,
            (UnicodeDecodeError,),
            [documents.stream([{"a": 1}, {"b": "c"}]), b": x\n\n"],
        ),
        "headers": Target(read_headers, (), HEADERS),
        **dict(_of_dialects()),
        **dict(_of_stores()),
        **{
            coding: Target(reads_coding(coding), (ValueError,), [encode(b"abc" * 50)])
            for coding, encode in dict(CODERS).items()
        },
    }
)
