"""The commands of valkey-search and its replies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.stores.valkey.search import (
    Fill,
    IndexOptions,
    Room,
    Search,
    create_index,
    documents_in,
    found_in,
    knows_no_all_shards,
    limit_in,
    may_retire,
    names_in,
    search_index,
    wants_successor,
)

OPTIONS = IndexOptions()
SEARCH = Search("0af1", b"vector", 16, 0.25)


def text(command: tuple[str | bytes | int, ...]) -> str:
    return " ".join(w.decode() if isinstance(w, bytes) else str(w) for w in command)


def test_an_hnsw_index_declares_what_is_filtered_and_nothing_else() -> None:
    assert text(create_index("i", "i:", 384, OPTIONS)) == (
        "FT.CREATE i ON HASH PREFIX 1 i: SCHEMA partition TAG embedding VECTOR HNSW 12"
        " TYPE FLOAT32 DIM 384 DISTANCE_METRIC COSINE M 16 EF_CONSTRUCTION 200 EF_RUNTIME 100"
    )


def test_a_flat_index_knows_no_graph() -> None:
    assert text(create_index("i", "i:", 8, IndexOptions(algorithm="flat"))) == (
        "FT.CREATE i ON HASH PREFIX 1 i: SCHEMA partition TAG embedding VECTOR FLAT 6"
        " TYPE FLOAT32 DIM 8 DISTANCE_METRIC COSINE"
    )


def test_a_search_asks_for_distances_alone_and_for_a_whole_answer() -> None:
    assert text(search_index("i", SEARCH, OPTIONS, says_all_shards=True)) == (
        "FT.SEARCH i @partition:{0af1}=>[KNN 16 @embedding $vector EF_RUNTIME 100 AS __distance]"
        " ALLSHARDS TIMEOUT 250 RETURN 1 __distance LIMIT 0 16 PARAMS 2 vector vector DIALECT 2"
    )
    assert "ALLSHARDS" not in search_index("i", SEARCH, OPTIONS, says_all_shards=False)


@pytest.mark.parametrize(("seconds", "milliseconds"), [(0.0001, 1), (0.25, 250), (999.0, 60_000)])
def test_a_search_always_has_a_timeout_that_the_server_takes(
    seconds: float, milliseconds: int
) -> None:
    command = search_index("i", Search("a", b"", 1, seconds), OPTIONS, says_all_shards=True)
    assert command[command.index("TIMEOUT") + 1] == milliseconds


@pytest.mark.parametrize("partition", ["", "a*", "a b", "a|b", "a}", "é"])
def test_a_partition_that_could_match_another_is_not_searched(partition: str) -> None:
    with pytest.raises(ValueError, match="partition"):
        search_index("i", Search(partition, b"", 1, 1.0), OPTIONS, says_all_shards=True)


def test_rows_are_read_in_order_and_odd_ones_passed_over() -> None:
    reply = [
        *(7, b"k:a", [b"__distance", b"-2.38e-07"], b"k:b", [b"__distance", b"0.25"]),
        *(b"k:c", [], b"k:d", [b"__distance", b"nan"], b"k:e", [b"__distance", b"-6"]),
        *(b"k:f", [b"response", b"0"], b"k:g", [b"__distance", b"2.0000001"]),
    ]
    assert found_in(reply) == [("k:a", 0.0), ("k:b", 0.25), ("k:g", 2.0)]


def test_an_empty_reply_is_no_rows() -> None:
    assert found_in([0]) == []


def test_an_answer_that_is_not_whole_is_none() -> None:
    with pytest.raises(TimeoutError):
        found_in(b"Request timed out")


@pytest.mark.parametrize("reply", [None, 1, [], [1, b"k"], {}])
def test_what_is_no_reply_to_a_search_is_refused(reply: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        found_in(reply)


@pytest.mark.parametrize("count", [3, b"3"])
def test_documents_are_counted_in_the_replies_of_all_versions(count: int | bytes) -> None:
    assert documents_in([b"index_name", b"i", b"num_docs", count, b"state", b"ready"]) == 3
    assert documents_in(ValueError()) == 0


def test_what_the_server_does_not_tell_is_none() -> None:
    assert names_in([b"a", b"b"]) == ["a", "b"]
    assert names_in(ValueError("NOPERM")) == []
    assert limit_in(b"used_memory:5\r\nmaxmemory:7\r\nmaxmemory_policy:x\r\n") == 7
    assert limit_in(b"maxmemory:0\r\n") == limit_in(ValueError()) == 0


@pytest.mark.parametrize(
    ("inserts", "alive", "max_memory", "expected"),
    [
        (9_999, [4_000], 0, False),
        (10_000, [4_000], 0, True),
        (10_000, [4_000, 1_001], 0, False),  # twice what is alive
        (10_002, [4_000, 1_001], 0, True),
        (1_000, [0], 0, False),
        (1_000, [500], 8 * 500 * 2_000, False),  # the dead take an eighth of the memory
        (1_000, [499], 8 * 500 * 2_000, True),
        (1_000, [2_000], 1, False),  # counted before it was expired
    ],
)
def test_a_generation_has_a_successor_when_it_is_full_or_its_dead_weigh(
    inserts: int, alive: list[int], max_memory: int, expected: bool
) -> None:
    fills = [Fill(inserts, alive[0]), *(Fill(0, count) for count in alive[1:])]
    assert wants_successor(fills, OPTIONS, Room(2_000, max_memory)) is expected


@pytest.mark.parametrize(
    ("oldest", "limit", "expected"),
    [
        (Fill(1_000, 100), 0, True),
        (Fill(1_000, 101), 0, False),
        (Fill(0, 0), 0, True),
        (Fill(1_000, 500), 8 * 500 * 2_000, False),
        (Fill(1_000, 500), 8 * 500 * 2_000 - 1, True),
        (Fill(1_000, 501), 1, False),
    ],
)
def test_of_two_generations_the_oldest_retires_when_little_of_it_is_alive(
    oldest: Fill, limit: int, expected: bool
) -> None:
    assert may_retire([Fill(9, 9), oldest], Room(2_000, limit)) is expected


@given(st.lists(st.builds(Fill, st.integers(0, 99), st.integers(0, 99)), min_size=1, max_size=5))
def test_of_many_generations_the_oldest_may_retire_and_the_only_one_never(
    fills: list[Fill],
) -> None:
    if len(fills) != 2:
        assert may_retire(fills, Room(2_000, 1)) is (len(fills) > 2)


@pytest.mark.parametrize(
    ("refusal", "expected"),
    [
        ("Unexpected argument `ALLSHARDS`", True),
        ("ERR syntax error", True),
        ("Unknown argument", True),
        ("Search operation cancelled due to timeout", False),
        ("Index with name 'i' not found in database 0", False),
        ("unknown command 'FT.SEARCH'", False),
        ("OOM command not allowed when used memory > 'maxmemory'.", False),
    ],
)
def test_an_option_that_is_not_known_is_told_from_other_trouble(
    refusal: str, expected: bool
) -> None:
    assert knows_no_all_shards(Exception(refusal)) is expected
    assert not knows_no_all_shards([1, b"ALLSHARDS", []])
