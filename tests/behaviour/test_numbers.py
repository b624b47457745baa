"""Questions whose numbers differ in one digit get different answers, on real sockets."""

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from tests.servers import Setup


@pytest.fixture(params=["off", "on"])
def setup(request: pytest.FixtureRequest) -> Setup:
    setup = Setup(verifier=request.param)
    setup.verifier.answer = lambda _: 1.0  # all that the guards let pass
    return setup


@pytest.fixture
async def client(base_url: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=base_url, api_key="sk-1", max_retries=0) as client:
        yield client


async def ask(client: openai.AsyncOpenAI, text: str) -> str:
    messages: Any = [{"role": "user", "content": text}]
    raw = await client.chat.completions.with_raw_response.create(model="m", messages=messages)
    assert raw.parse().choices[0].message.content
    return str(raw.headers["x-cache"])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("00340434161094042557", "00340434161094042558"),
        ("12345678901234567", "12345678901234568"),
        ("DE89370400440532013000", "DE89370400440532013001"),
        ("DE89 3704 0044 0532 0130 00", "DE89 3704 0044 0532 0130 01"),
        ("4111 1111 1111 1111", "4111-1111-1111-1112"),
        ("GB33BUKB20201555555555", "GB33BUKB20201555555556"),
        ("3.14159265358979323846", "3.14159265358979323847"),
        ("007", "07"),
    ],
)
async def test_numbers_are_compared_digit_by_digit(
    client: openai.AsyncOpenAI, first: str, second: str
) -> None:
    assert await ask(client, f"Where is parcel {first}?") == "MISS"
    assert await ask(client, f"Where is parcel {second}?") == "MISS"
    assert await ask(client, f"Where is the parcel {first}?") == "HIT"
