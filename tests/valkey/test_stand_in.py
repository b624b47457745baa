"""The stand-in gives the replies that the real module was observed to give: hits and refusals."""

import asyncio
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from valkey.exceptions import ResponseError

from tests.valkey.asking import (
    CREATE,
    DISTANCE,
    EAST,
    NEAR,
    Asking,
    in_both_protocols,
    vector,
    words,
)
from tests.valkey.resp import Failure, Reply, Simple, Stream, command
from tests.valkey.server import StandIn, stand_in

LINES = (Path(__file__).parent / "refusals.txt").read_text().splitlines()
REFUSALS = [(a[2:], b[1:]) for a, b in pairwise(LINES) if a.startswith("> ")]


@in_both_protocols
async def test_an_empty_index_counts_nothing(client: Asking) -> None:
    assert await client.nearest(1) == [0]


@in_both_protocols
async def test_without_return_the_distance_comes_first_and_the_vector_too(client: Asking) -> None:
    await client.put("1", prompt="hello")
    count, key, fields = await client.nearest(1)
    assert (count, key) == (1, b"cache:1")
    assert fields == [DISTANCE, b"0", b"prompt", b"hello", b"embedding", EAST]


async def test_distances_are_written_as_the_module_writes_them(client: Asking) -> None:
    for name, embedding in {
        "opposite": vector(-1),
        "near": NEAR,
        "further": vector(1, 0.5),
        "scaled": vector(2),
        "unrelated": vector(0, 1),
        "zero": vector(),
        "nan": vector(np.nan),
    }.items():
        await client.put(name, embedding)
    _, *rows = await client.nearest(10, f"RETURN 1 {DISTANCE.decode()}")
    assert dict(zip(rows[::2], (fields[1] for fields in rows[1::2]), strict=True)) == {
        b"cache:scaled": b"0",
        b"cache:near": b"0.00496286153793",
        b"cache:further": b"0.10557281971",
        b"cache:unrelated": b"1",
        b"cache:zero": b"1",
        b"cache:opposite": b"2",
        b"cache:nan": b"nan",
    }
    assert rows[::2][0] == b"cache:scaled"
    assert rows[::2][-2:] == [b"cache:opposite", b"cache:nan"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("NOCONTENT", [2, b"cache:a", b"cache:b"]),
        ("RETURN 0", [2, b"cache:a", b"cache:b"]),
        ("RETURN 1 n", [2, b"cache:a", [b"n", b"1"], b"cache:b", []]),
        ("RETURN 3 n AS m", [2, b"cache:a", [b"m", b"1"], b"cache:b", []]),
        ("return 2 nosuch n limit 0 1", [2, b"cache:a", [b"n", b"1"]]),
        ("RETURN 1 __embedding_score LIMIT 1 1", [2, b"cache:b", [DISTANCE, b"0.00496286153793"]]),
        ("RETURN 3 __embedding_score AS d LIMIT 0 1", [2, b"cache:a", [DISTANCE, b"0"]]),
        ("RETURN 2 n __embedding_score LIMIT 0 1", [2, b"cache:a", [b"n", b"1", DISTANCE, b"0"]]),
        ("LIMIT 0 0", [2]),
        ("LIMIT 5 2", [2]),
        ("SORTBY ts DESC NOCONTENT", [2, b"cache:b", b"cache:a"]),
        ("TIMEOUT 100 ALLSHARDS NOCONTENT LIMIT 0 1", [2, b"cache:a"]),
        ("TIMEOUT 0 SOMESHARDS INCONSISTENT LOCALONLY NOCONTENT LIMIT 0 1", [2, b"cache:a"]),
    ],
)
async def test_a_reply_has_what_was_asked_for(
    client: Asking, options: str, expected: list[Any]
) -> None:
    await client.put("b", NEAR, ts="2")
    await client.put("a", n="1", ts="1")
    assert await client.nearest(2, options) == expected


async def test_rows_are_ten_unless_more_are_wanted(client: Asking) -> None:
    for index in range(15):
        await client.put(str(index), vector(1, index))
    assert len(await client.nearest(15, "NOCONTENT")) == 11
    assert len(await client.nearest(15, "NOCONTENT LIMIT 0 15")) == 16


@pytest.mark.parametrize(
    ("clause", "params"),
    [
        ("KNN 1 @embedding $q EF_RUNTIME 100 AS d", ""),
        ("knn $k @embedding $q AS d", "k 1"),
        (" KNN 1 @embedding $q EF_RUNTIME $ef as d ", "ef 50"),
    ],
)
async def test_the_distance_may_have_another_name(client: Asking, clause: str, params: str) -> None:
    await client.put("a")
    count = 2 + len(params.split())
    search = f"FT.SEARCH idx '*=>[{clause}]' RETURN 1 d PARAMS {count} q <east> {params}"
    assert await client.send(search) == [1, b"cache:a", [b"d", b"0"]]


async def test_a_record_beyond_five_mebibytes_is_left_out_unless_it_is_not_read(
    client: Asking,
) -> None:
    await client.put("huge", response="x" * (5 << 20))
    await client.put("b", NEAR)
    assert (await client.nearest(2))[:2] == [1, b"cache:b"]
    assert (await client.nearest(2, "RETURN 1 response"))[:2] == [1, b"cache:b"]
    assert (await client.nearest(2, "RETURN 1 __embedding_score"))[:2] == [2, b"cache:huge"]
    assert await client.names(2) == ["huge", "b"]


@pytest.mark.parametrize(
    ("filter_", "expected"),
    [
        ("@ns:{a1}", "a"),
        ("(@ns:{a1})", "a"),
        ("@ns: { A1 }", "a"),
        ("@ns:{a1|b1}", "ab"),
        ("@ns:{a1 | b1} @ts:[2 9]", "b"),
        ("@ns:{a1} | @ts:[(2 +inf]", "ac"),
        ("-@ns:{a1}", "bc"),
        ("-(@ns:{a1} | @ns:{b1})", "c"),
        ("@ts:[-inf (2]", "a"),
        ("@ns:{none}", ""),
        ("@ns:{}", ""),
        ("@ns:{tw*}", "c"),
        (r"@ns:{tw\*}", "c"),
        ("@ns:{two}", "c"),
        ("@ns:{one, two}", ""),
        (r"@ns:{x\|y}", "c"),
        ("@ns:{x|y}", ""),
        ("", "abc"),
        ("(*)", "abc"),
        ("* ", "abc"),
    ],
)
async def test_a_filter_lets_some_through(client: Asking, filter_: str, expected: str) -> None:
    await client.put("a", vector(1, 0.1), ns="a1", ts="1")
    await client.put("b", vector(1, 0.2), ns="B1", ts="2")
    await client.put("c", vector(1, 0.3), ns="one, two ,,x|y", ts="3")
    await client.valkey.hset("cache:no-vector", mapping={"ns": "a1", "ts": "1"})
    assert "".join(await client.names(9, filter_=filter_)) == expected


async def test_a_filter_alone_finds_hashes_without_a_vector(client: Asking) -> None:
    await client.valkey.hset("cache:a", "ns", "a1")
    assert await client.send("FT.SEARCH idx @ns:{a1}") == [1, b"cache:a", [b"ns", b"a1"]]


async def test_a_query_may_be_so_long_and_no_longer(client: Asking) -> None:
    assert await client.nearest(1, filter_=f"@ns:{{{'a' * 10_200}}}") == [0]
    with pytest.raises(ResponseError, match=r"too long, max length is 10240 bytes\.$"):
        await client.nearest(1, filter_=f"@ns:{{{'a' * 10_300}}}")


async def test_refusals_have_the_words_of_the_module(server: StandIn) -> None:
    replies = await exchange(server, [CREATE, *(line for line, _ in REFUSALS)])
    assert replies.pop(0) == Simple(b"OK")
    told = [(line, reply) for (line, _), reply in zip(REFUSALS, replies, strict=True)]
    assert told == [(line, Failure(message.encode())) for line, message in REFUSALS]
    assert len(told) > 50


async def test_an_older_module_says_some_things_otherwise() -> None:
    async with stand_in("1.0.3") as server:
        search = 'FT.SEARCH {} "*=>[KNN 1 @embedding $q]" {} PARAMS 2 q <east>'
        lines = [
            "FT.CREATE x SCHEMA a TAG",
            CREATE,
            CREATE,
            "FT.CREATE x SKIPINITIALSCAN SCHEMA a TAG",
            search.format("nosuch", ""),
            search.format("idx", "ALLSHARDS"),
            search.format("idx", "SORTBY ts"),
            "FT.SEARCH idx @ns:{a}",
            search.format("idx", "TIMEOUT 0"),
        ]
        assert await exchange(server, lines) == [
            Failure(b"At least one attribute must be indexed as a vector"),
            Simple(b"OK"),
            Failure(b"Index idx already exists."),
            Failure(b"Unexpected parameter `SKIPINITIALSCAN`, expecting `SCHEMA`"),
            Failure(b"Index with name 'nosuch' not found"),
            Failure(b"Unexpected argument `ALLSHARDS`"),
            Failure(b"Unexpected argument `SORTBY`"),
            Failure(b"Invalid filter format. Missing `=>`"),
            [0],
        ]


async def test_an_older_module_mistakes_the_length_of_a_query_for_nearness() -> None:
    search = (
        'FT.SEARCH idx "{}=>[KNN 1 @embedding $q]" RETURN 1 __embedding_score PARAMS 2 q <seven>'
    )
    lines = [CREATE, "HSET cache:a ns n embedding <east>"]
    async with stand_in("1.0.3") as server:
        *_, free, filtered = await exchange(
            server, [*lines, search.format("*"), search.format("@ns:{n}")]
        )
    assert free == [1, b"cache:a", [DISTANCE, b"0"]]
    assert filtered == [1, b"cache:a", [DISTANCE, b"-6"]]


async def exchange(server: StandIn, lines: list[str]) -> list[Reply]:
    """Send all commands at once, and return the replies as they are on the wire."""
    reader, writer = await asyncio.open_unix_connection(server.unix_url.removeprefix("unix://"))
    writer.write(b"".join(command(*words(line)) for line in lines))
    stream, replies = Stream(), list[Reply]()
    while len(replies) < len(lines):
        replies += [reply for reply, _ in stream.feed(await reader.read(1 << 16))]
    writer.close()
    return replies
