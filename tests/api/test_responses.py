"""Answers as they are sent to the client."""

import asyncio
import json
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime

import pytest

from app.api.request import RequestReader
from app.api.responses import refuse, respond
from app.core.cache_status import CacheStatus, Head, Replay
from app.core.errors import InvalidAPIKey, UpstreamInterrupted
from app.core.models import Header
from tests.api.asgi import Client, Sent, piece, scope_of

BYPASS = CacheStatus.bypass("passthrough")


class Answer:
    """An answer in pieces. An exception among the pieces is raised, and an event is waited for."""

    def __init__(self, *pieces: bytes | Exception | asyncio.Event, status_code: int = 200) -> None:
        self._pieces = pieces
        self.headers: list[Header] = [(b"x-a", b"1"), (b"x-cache", b"HIT"), (b"x-a", b"2")]
        self.status_code = status_code
        self.is_closed = False

    async def head(self) -> Head:
        return Head(self.status_code, self.headers, BYPASS)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for one in self._pieces:
            if isinstance(one, Exception):
                raise one
            if isinstance(one, asyncio.Event):
                await one.wait()
            else:
                yield one

    async def aclose(self) -> None:
        self.is_closed = True


async def sent(answer: Answer | Replay, client: Client | None = None) -> Sent:
    told = Sent()
    incoming = RequestReader(client or Client(piece(b"")))
    await incoming.body(limit=9)
    await respond(answer, scope_of(), incoming, told)
    return told


async def test_an_answer_is_sent_piece_by_piece_and_closed() -> None:
    answer = Answer(b"one ", b"two")
    told = await sent(answer)
    assert [message.get("body") for message in told.messages[1:]] == [b"one ", b"two", b""]
    assert (told.is_whole, answer.is_closed) == (True, True)


async def test_what_the_upstreams_own_cache_says_is_replaced_and_the_rest_is_kept() -> None:
    told = await sent(Answer())
    headers: list[Header] = told.messages[0]["headers"]
    assert [value for name, value in headers if name == b"x-a"] == [b"1", b"2"]
    assert [value for name, value in headers if name == b"x-cache"] == [b"BYPASS"]
    assert told.headers[b"cache-status"] == b"reprise; fwd=bypass; detail=passthrough"


async def test_every_answer_has_a_date_and_only_one() -> None:
    own = Answer()
    own.headers.append((b"date", b"Thu, 01 Jan 2026 00:00:00 GMT"))
    assert (await sent(own)).headers[b"date"] == b"Thu, 01 Jan 2026 00:00:00 GMT"
    assert parsedate_to_datetime((await sent(Answer())).headers[b"date"].decode())


@pytest.mark.parametrize(("status_code", "is_kept"), [(200, True), (204, False), (304, False)])
async def test_an_answer_without_a_body_promises_none(status_code: int, is_kept: bool) -> None:
    answer = Answer(status_code=status_code)
    answer.headers.append((b"content-length", b"9"))
    assert (b"content-length" in (await sent(answer)).headers) is is_kept


async def test_an_answer_that_breaks_off_is_left_unfinished() -> None:
    answer = Answer(b"half", UpstreamInterrupted("gone"))
    told = await sent(answer)
    assert (told.body, told.is_whole, answer.is_closed) == (b"half", False, True)


async def test_who_has_left_is_sent_no_more_and_the_source_is_closed() -> None:
    never, client = asyncio.Event(), Client(piece(b""))
    answer = Answer(b"half", never)
    sending = asyncio.create_task(sent(answer, client))
    client.leaves.set()
    told = await sending
    assert not told.is_whole
    assert answer.is_closed


async def test_a_defect_in_a_source_is_raised_once_it_is_closed() -> None:
    answer = Answer(b"half", ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        await sent(answer)
    assert answer.is_closed


async def test_what_is_stored_is_sent_whole() -> None:
    told = await sent(Replay(Head(200, [(b"content-length", b"3")], BYPASS), b"all"))
    assert (told.body, told.is_whole, len(told.messages)) == (b"all", True, 2)


async def test_an_answer_of_our_own_is_an_error_in_openais_shape() -> None:
    told = Sent()
    await refuse(InvalidAPIKey("Incorrect API key provided."), scope_of(), told)
    error = json.loads(told.body)["error"]
    assert (told.status_code, error["code"]) == (401, "invalid_api_key")
    assert error.keys() == {"message", "type", "param", "code"}
    assert told.headers[b"content-length"] == b"%d" % len(told.body)


async def test_it_has_anthropics_shape_where_that_is_what_is_spoken() -> None:
    told = Sent()
    await refuse(InvalidAPIKey("Incorrect API key provided."), scope_of("/v1/messages"), told)
    document = json.loads(told.body)
    assert document["error"] == {
        "type": "authentication_error",
        "message": "Incorrect API key provided.",
    }
    assert told.headers[b"request-id"] == document["request_id"].encode()
