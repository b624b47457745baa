"""The numbers of tokens of an answer, as each API reports them."""

import json
from typing import Any

import pytest

from app.core.models import Usage
from app.dialects.usage import usage_in

CASES: list[tuple[Any, Usage | None]] = [
    ({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}, Usage(3, 2)),
    (
        {
            "prompt_tokens": 30,
            "completion_tokens": 2,
            "prompt_tokens_details": {"cached_tokens": 20, "audio_tokens": 0},
        },
        Usage(30, 2, cached=20),
    ),
    (
        {"input_tokens": 9, "output_tokens": 4, "input_tokens_details": {"cached_tokens": 8}},
        Usage(9, 4, cached=8),
    ),
    (
        {
            "input_tokens": 9,
            "output_tokens": 4,
            "cache_read_input_tokens": 100,
            "cache_creation_input_tokens": 50,
        },
        Usage(159, 4, cached=100, written=50),
    ),
    (  # Anthropic's, as LiteLLM tells it: the prompt's tokens include those of the prompt cache
        {
            "prompt_tokens": 159,
            "completion_tokens": 4,
            "prompt_tokens_details": {"cached_tokens": 100, "cache_creation_tokens": 50},
            "cache_read_input_tokens": 100,
            "cache_creation_input_tokens": 50,
        },
        Usage(159, 4, cached=100, written=50),
    ),
    ({"prompt_tokens": 4, "total_tokens": 4}, Usage(4)),
    ({"prompt_tokens": 4, "prompt_tokens_details": None}, Usage(4)),
    ({"prompt_tokens": True, "completion_tokens": -1}, Usage(0)),
    ({"prompt_tokens": 1e9, "completion_tokens": 10**40}, Usage(0)),
    ({"prompt_tokens": 3, "prompt_tokens_details": {"cached_tokens": 7}}, Usage(3, cached=3)),
    ({}, None),
    (None, None),
    ("much", None),
]


@pytest.mark.parametrize(("told", "usage"), CASES)
def test_tokens_are_read_as_each_api_tells_them(told: Any, usage: Usage | None) -> None:
    said = 'She wrote "usage":{"prompt_tokens":7}'
    for document in ({"text": said, "usage": told}, {"usage": told, "text": said}):
        content = json.dumps(document, separators=(",", ":")).encode()
        assert usage_in(content) == usage


@pytest.mark.parametrize("content", [b"", b"{}", b'{"usage":', b'{"usage":{"prompt_tokens":'])
def test_what_does_not_say_or_is_cut_has_none(content: bytes) -> None:
    assert usage_in(content) is None


def test_what_a_client_calls_the_same_is_passed_over() -> None:
    usage = '"usage":{"input_tokens":9,"output_tokens":4}'
    for other in ('"usage":"much"', '"usage":{"type":"string"}', '"usage":{'):
        content = f'{{"output":[],{usage},"metadata":{{{other}}}}}'.encode()
        assert usage_in(content) == Usage(9, 4)
