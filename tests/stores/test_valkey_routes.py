"""To which nodes a command goes, and how their replies are combined."""

from typing import Any

import pytest

from app.core.errors import NodeAway, NodeFailed
from app.stores.valkey.client import Command, Refused
from app.stores.valkey.cluster.routes import (
    Way,
    key_of,
    may_lag,
    merged,
    scanned,
    shard_in,
    way_of,
)
from app.stores.valkey.keys import EPOCH, Keys

KEYS = Keys.of("test", 4)
AWAY, FAILED = NodeAway(), NodeFailed("gone")
NOT_FOUND = Refused("Index with name 'i' not found in database 0")
EXISTS = Refused("Index i in database 0 already exists.")
DENIED = Refused("NOPERM")


@pytest.mark.parametrize(
    ("command", "way"),
    [
        (("GET", "a"), Way.KEY),
        (("EVAL", "return 1", 1, "a", "b"), Way.KEY),
        (("SCAN", 0), Way.CURSOR),
        (("FT.SEARCH", "i", "*"), Way.EACH),
        (("FT.CREATE", "i"), Way.IN_TURN),
        (("WAIT", 1, 1), Way.AFTER),
    ],
)
def test_a_command_goes_its_way(command: Command, way: Way) -> None:
    assert way_of(command) is way


def test_a_script_has_its_key_behind_its_text() -> None:
    assert key_of(("EVAL", "return 1", 1, "a", "b")) == "a"
    assert key_of(("HMGET", "a", "b")) == "a"


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (("HMGET", KEYS.entry(1, "a"), "response"), True),
        (("HSTRLEN", KEYS.entry(1, "a"), "embedding"), True),
        (("GET", "embedding:a"), True),
        (("GET", EPOCH), False),
        (("GET", KEYS.generations), False),
        (("SET", "embedding:a", "b"), False),
        (("EVAL", "return 1", 1, KEYS.entry(1, "a")), False),
        (("SCAN", 0), False),
    ],
)
def test_what_decides_whether_an_entry_is_valid_never_lags(
    command: Command, expected: bool
) -> None:
    assert may_lag(command) is expected


def test_a_scan_takes_one_shard_after_the_other() -> None:
    replies: dict[tuple[int, int], Any] = {
        (0, 0): [b"7", [b"a"]],
        (0, 7): [b"0", [b"b"]],
        (1, 0): [b"0", []],
        (2, 0): [b"18446744073709551615", [b"c"]],
        (2, 18446744073709551615): [b"0", [b"d"]],
    }
    found, cursor = [], b"0"
    while True:
        shard, scan = shard_in(("SCAN", cursor, "MATCH", "*", "COUNT", 10))
        assert scan[2:] == ("MATCH", "*", "COUNT", 10)
        cursor, keys = scanned(replies[shard, int(scan[1])], shard, 3)
        found += keys
        if cursor == b"0":
            break
    assert found == [b"a", b"b", b"c", b"d"]
    assert scanned(AWAY, 0, 3) is AWAY


ROW, OTHER = [b"a", [b"d", b"0.1"]], [b"b", [b"d", b"0.2"]]


@pytest.mark.parametrize(
    ("command", "replies", "expected"),
    [
        (("GET", "a"), [b"1"], b"1"),
        (("FT.SEARCH",), [[1, *ROW], [0], [1, *OTHER]], [2, *ROW, *OTHER]),
        (("FT.SEARCH",), [[1, *ROW], AWAY, FAILED], [1, *ROW]),
        (("FT.SEARCH",), [AWAY, FAILED], AWAY),
        (("FT.SEARCH",), [[1, *ROW], NOT_FOUND], NOT_FOUND),
        (("FT.SEARCH",), [[1, *ROW], b"Request timed out"], b"Request timed out"),
        (("FT._LIST",), [[b"a", b"b"], [b"b"], AWAY], [b"a", b"b"]),
        (("FT._LIST",), [[b"a"], DENIED], DENIED),
        (("FT.INFO", "i"), [[b"num_docs", 2], [b"num_docs", b"3"]], [b"num_docs", 5]),
        (("FT.INFO", "i"), [[b"num_docs", 2], AWAY], AWAY),
        (("DBSIZE",), [1, 2, 3], 6),
        (("DBSIZE",), [1, FAILED], FAILED),
        (("INFO",), [b"maxmemory:1", b"maxmemory:2"], b"maxmemory:1\nmaxmemory:2"),
        (("FT.CREATE",), [b"OK", EXISTS, AWAY], b"OK"),
        (("FT.CREATE",), [EXISTS, EXISTS], EXISTS),
        (("FT.CREATE",), [b"OK", DENIED], DENIED),
        (("FT.CREATE",), [EXISTS, DENIED], DENIED),
        (("FT.DROPINDEX",), [NOT_FOUND, b"OK"], b"OK"),
    ],
)
def test_many_replies_amount_to_one(command: Command, replies: list[Any], expected: Any) -> None:
    assert merged(command, replies) == expected
