"""What callers who share all answers can do to each other, and cannot."""

import itertools
from typing import Any

import pytest

from tests.behaviour.test_tenants import TEXT, A, B, ask, client_of
from tests.fakes import completion
from tests.servers import Exchange, Setup


def shared(**settings: Any) -> Setup:
    return Setup(isolation="shared", **settings)


@pytest.mark.parametrize(
    "headers",
    [{"Cache-Control": "no-cache"}, {"Cache-Control": "max-age=0"}, {"x-cache-tags": "t"}],
)
async def test_nobody_can_ask_again_until_others_get_another_answer(
    headers: dict[str, str],
) -> None:
    setup = shared()
    numbers = itertools.count()

    async def roll(exchange: Exchange) -> None:
        await exchange.read()
        await exchange.answer(completion(f"roll {next(numbers)}"))

    setup.upstream.handler = roll
    async with client_of(setup) as client:
        await ask(client, TEXT, A)
        setup.clock.advance(1)
        again = await ask(client, TEXT, B, **headers)
        other = await ask(client, TEXT, A)
    assert "roll 1" in again.text  # who asks for a new answer gets one
    assert "roll 0" in other.text
    assert other.headers["x-cache"] == "HIT"


async def test_nobody_can_keep_an_answer_for_others_longer_than_usual() -> None:
    for isolation, longest in (("shared", 100), ("credential", 2_592_000)):
        setup = Setup(isolation=isolation, ttl=100)
        async with client_of(setup) as client:
            await ask(client, TEXT, A, **{"x-cache-ttl": "2592000"})
            hit = await ask(client, TEXT, A)
        assert f"ttl={longest};" in hit.headers["cache-status"]
