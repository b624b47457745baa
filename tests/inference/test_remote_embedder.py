"""The remote embedder over a fake upstream; over sockets in tests/behaviour/test_embedders.py."""

import base64
import json
import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.core.errors import Declined, DependencyFailed, UpstreamInterrupted
from app.core.models import ClientRequest, Header
from app.inference.remote_embedder import RemoteEmbedder
from tests.fakes import FakeResponse, FakeUpstream

KEY: Header = (b"authorization", b"Bearer sk")
SMALL = "text-embedding-3-small"


def written(*numbers: float) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


def answer(*embeddings: object) -> bytes:
    data = [
        {"object": "embedding", "index": index, "embedding": embedding}
        for index, embedding in enumerate(embeddings)
    ]
    return json.dumps({"object": "list", "data": data, "model": "m"}).encode()


ANSWER = answer([0.6, 0.8])


def upstream(body: bytes | Exception = ANSWER, status_code: int = 200) -> FakeUpstream:
    return FakeUpstream(lambda _: FakeResponse([body], status_code))


def document(request: ClientRequest) -> dict[str, Any]:
    assert isinstance(request.body, bytes)
    asked: dict[str, Any] = json.loads(request.body)
    return asked


@pytest.mark.parametrize(
    ("embedding", "numbers"),
    [
        (written(0.6, 0.8), [0.6, 0.8]),
        ([0.6, 0.8], [0.6, 0.8]),
        (written(3, 4), [0.6, 0.8]),
        ([3, -4], [0.6, -0.8]),
        ([0, 1e150], [0, 1]),
    ],
)
async def test_an_embedding_is_read_from_base64_and_from_numbers(
    embedding: object, numbers: list[float]
) -> None:
    server = upstream(answer(embedding))
    read = await RemoteEmbedder(server, "m", 2).embed("text")
    assert read is not None
    assert read.dtype == np.float32
    np.testing.assert_allclose(read, numbers, atol=1e-7)
    assert server.responses[0].closed


@given(st.lists(st.floats(-1, 1, width=32), min_size=1))
async def test_both_forms_are_read_to_the_same_direction(numbers: list[float]) -> None:
    assume(any(abs(number) > 1e-30 for number in numbers))
    told = [
        await RemoteEmbedder(upstream(answer(form)), "m", len(numbers)).embed("text")
        for form in (numbers, written(*numbers))
    ]
    np.testing.assert_array_equal(told[0], told[1])
    assert told[0] is not None
    np.testing.assert_allclose(told[0] * np.linalg.norm(numbers), numbers, atol=1e-6)


@pytest.mark.parametrize(
    ("model", "extra"),
    [
        (SMALL, {"dimensions": 2}),
        ("openai/text-embedding-3-large", {"dimensions": 2}),
        ("text-embedding-ada-002", {}),
        ("BAAI/bge-m3", {}),
    ],
)
async def test_what_is_asked(model: str, extra: dict[str, int]) -> None:
    server = upstream()
    await RemoteEmbedder(server, model, 2).embed("What is 密码?", [KEY])
    (request,) = server.requests
    assert (request.method, request.path, request.query) == ("POST", b"/embeddings", b"")
    assert document(request) == {
        "model": model,
        "encoding_format": "base64",
        "input": "What is 密码?",
        **extra,
    }
    assert request.headers == [
        (b"content-type", b"application/json"),
        (b"accept", b"application/json"),
        (b"accept-encoding", b"identity"),
    ]


async def test_the_callers_credentials_go_along_where_the_embedder_is_the_upstream() -> None:
    server = upstream()
    await RemoteEmbedder(server, "m", 2, as_caller=True).embed("text", [KEY])
    assert KEY in server.requests[0].headers


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "its answer does not contain an embedding"),
        (b"<html>", "its answer does not contain an embedding"),
        (b"null", "its answer does not contain an embedding"),
        (b"{}", "its answer does not contain an embedding"),
        (b'{"data": {"embedding": [0, 1]}}', "its answer does not contain an embedding"),
        (b'{"data": [{"embedding": [NaN, 1]}]}', "its answer does not contain an embedding"),
        (b'{"data": [{"embedding": [0, 1e999]}]}', "its answer does not contain an embedding"),
        (answer(), "its answer does not contain an embedding"),
        (answer([0, 1], [0, 1]), "its answer does not contain an embedding"),
        (answer(None), "its answer does not contain an embedding"),
        (answer([0, "sk-secret"]), "its answer does not contain an embedding"),
        (answer([[0, 1]]), "its answer does not contain an embedding"),
        (answer([[0, 1], [0]]), "its answer does not contain an embedding"),
        (answer({"0": 1}), "its answer does not contain an embedding"),
        (answer("sk-secret"), "its answer does not contain an embedding"),
        (answer(written(0, 1)[:-2]), "its answer does not contain an embedding"),
        (answer([10**400, 1]), "its answer does not contain an embedding"),
        (answer(written(0, 0)), "its embedding is zero or not finite"),
        (answer(written(math.nan, 1)), "its embedding is zero or not finite"),
        (answer(written(math.inf, 1)), "its embedding is zero or not finite"),
        (answer([0, 1]) + b" " * 1_048_576, "its answer is too large"),
        (answer([0, 1, 0]), "REPRISE_EMBEDDING_DIMENSIONS=2, but its embeddings have 3 dimensions"),
        (
            answer(written(1)),
            "REPRISE_EMBEDDING_DIMENSIONS=2, but its embeddings have 1 dimensions",
        ),
    ],
)
async def test_an_answer_that_is_none_is_a_failure_that_can_be_told(body: bytes, told: str) -> None:
    server = upstream(body)
    with pytest.raises(DependencyFailed) as caught:
        await RemoteEmbedder(server, "m", 2).embed("text")
    assert str(caught.value) == told
    assert server.responses[0].closed


@pytest.mark.parametrize("status_code", [201, 302, 400, 401, 402, 403, 404, 413, 422, 429, 500])
async def test_another_status_is_a_failure_that_names_it(status_code: int) -> None:
    server = upstream(b'{"error": "sk-secret"}', status_code)
    with pytest.raises(DependencyFailed, match=f"^it answered with status {status_code}$"):
        await RemoteEmbedder(server, SMALL, 2).embed("text", [KEY])
    assert server.responses[0].closed
    assert len(server.requests) == 1


@pytest.mark.parametrize("status_code", [401, 402, 403, 429])
async def test_what_is_refused_to_a_caller_is_no_failure(status_code: int) -> None:
    embedder = RemoteEmbedder(upstream(b"", status_code), SMALL, 2, as_caller=True)
    with pytest.raises(Declined):
        await embedder.embed("text", [KEY])


@pytest.mark.parametrize("status_code", [400, 413, 422])
async def test_a_text_that_the_server_finds_too_long_has_no_embedding(status_code: int) -> None:
    embedder = RemoteEmbedder(upstream(b"", status_code), SMALL, 2)
    assert await embedder.embed("word " * 21) is None
    with pytest.raises(DependencyFailed):  # so short a text fits any model: something else is wrong
        await embedder.embed("word " * 20)


@pytest.mark.parametrize(
    ("model", "window"),
    [
        (SMALL, 8191),
        ("openai/text-embedding-3-large", 8191),
        ("text-embedding-ada-002", 8191),
        ("text-embedding-004", 510),
        ("all-minilm", 510),
    ],
)
@pytest.mark.parametrize(("character", "size"), [("a", 1), ("é", 2), ("密", 3)])
async def test_a_text_that_might_be_cut_is_not_sent(
    model: str, window: int, character: str, size: int
) -> None:
    server = upstream()
    embedder = RemoteEmbedder(server, model, 2)
    assert await embedder.embed(character * (window // size)) is not None
    assert await embedder.embed(character * (window // size + 1)) is None
    assert len(server.requests) == 1


async def test_an_empty_text_has_no_embedding() -> None:
    server = upstream()
    assert await RemoteEmbedder(server, SMALL, 2).embed("") is None
    assert server.requests == []


async def test_an_answer_that_breaks_off_is_raised() -> None:
    server = upstream(UpstreamInterrupted("broke off"))
    with pytest.raises(UpstreamInterrupted):
        await RemoteEmbedder(server, SMALL, 2).embed("text")
    assert server.responses[0].closed


def test_the_name_tells_models_and_dimensions_apart() -> None:
    server = upstream()
    models = [("a", 2), ("a", 3), ("b", 2)]
    assert len({RemoteEmbedder(server, *model).name for model in models}) == 3
    assert RemoteEmbedder(server, "a", 2).name == RemoteEmbedder(upstream(), "a", 2).name
