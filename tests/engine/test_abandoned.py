"""What happens to an answer after all its clients have left."""

import asyncio

import pytest

from app.core.cache_status import Replay
from tests.bench import Bench, settle
from tests.engine.test_form_adapter import DONE, STREAM, STREAM_TYPE, STREAMED, Paced
from tests.fakes import FakeResponse


async def abandon(bench: Bench, response: FakeResponse) -> None:
    """Ask for a stream, and leave after its first piece."""
    bench.upstream.answer = lambda _: response
    answer = await bench.ask(**STREAMED)
    assert not isinstance(answer, Replay)
    await answer.head()
    assert await anext(aiter(answer))
    await answer.aclose()
    await settle()


def paced(status_code: int = 200) -> Paced:
    response = Paced([*STREAM], status_code, headers=[STREAM_TYPE])
    response.let(1)
    return response


@pytest.mark.parametrize("finish", [False, True])
async def test_an_abandoned_answer_is_finished_and_stored_if_that_is_wanted(finish: bool) -> None:
    bench = Bench(finish_abandoned=finish)
    response = paced()
    await abandon(bench, response)
    assert response.closed is not finish
    response.let(4)
    await settle()
    assert response.closed
    bench.upstream.answer = lambda _: FakeResponse([b"{}"])
    assert (await bench.status()).startswith("hit") is finish


async def test_who_asks_again_meanwhile_joins_the_abandoned_answer() -> None:
    bench = Bench(finish_abandoned=True)
    response = paced()
    await abandon(bench, response)
    again = asyncio.create_task(bench.status(**STREAMED))
    await settle()
    response.let(4)
    assert await again == "fwd=miss; collapsed"
    assert len(bench.upstream.requests) == 1


async def test_what_will_not_be_stored_is_not_finished() -> None:
    bench = Bench(finish_abandoned=True)
    response = paced(429)
    await abandon(bench, response)
    assert response.closed


async def test_an_abandoned_answer_is_let_go_of_once_it_is_complete() -> None:
    bench = Bench(finish_abandoned=True)
    response = Paced([*STREAM, b": never closed"], headers=[STREAM_TYPE])
    response.let(1)
    await abandon(bench, response)
    assert not response.closed
    response.let(4)
    await settle()
    assert response.sent == 5
    assert STREAM[-1] == DONE
    assert response.closed
