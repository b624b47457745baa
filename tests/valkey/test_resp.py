"""The protocol, with the bytes cut at any place."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.valkey.resp import Failure, Push, Reply, Simple, Stream, encode

LINES = st.binary(max_size=9).filter(lambda text: not set(text) & set(b"\r\n"))
REPLIES = st.recursive(
    st.integers() | st.binary() | LINES.map(Simple) | LINES.map(Failure),
    lambda items: st.lists(items, max_size=4),
    max_leaves=12,
)


@given(st.lists(REPLIES, max_size=4), st.lists(st.integers(0, 200), max_size=6))
def test_where_the_bytes_are_cut_does_not_matter(replies: list[Reply], cuts: list[int]) -> None:
    wire = b"".join(map(encode, replies))
    edges = [0, *sorted(cuts), len(wire)]
    stream = Stream()
    got = [value for a, b in pairwise(edges) for value in stream.feed(wire[a:b])]
    assert [reply for reply, _ in got] == replies
    assert b"".join(raw for _, raw in got) == wire


@pytest.mark.parametrize(
    ("wire", "reply"),
    [
        (b"$-1\r\n", None),
        (b"*-1\r\n", None),
        (b"_\r\n", None),
        (b"#t\r\n", True),
        (b",1.5\r\n", 1.5),
        (b"(12345678901234567890\r\n", 12345678901234567890),
        (b"!3\r\nERR\r\n", Failure(b"ERR")),
        (b"=7\r\ntxt:abc\r\n", b"txt:abc"),
        (b"%1\r\n+a\r\n:1\r\n", {Simple(b"a"): 1}),
        (b"~1\r\n:1\r\n", [1]),
        (b">1\r\n:1\r\n", Push([1])),
        (b"|1\r\n+a\r\n:1\r\n:2\r\n", 2),
        (b"GET  key\r\n", [b"GET", b"key"]),
    ],
)
def test_what_only_one_side_says_is_read_as_well(wire: bytes, reply: Reply) -> None:
    assert list(Stream().feed(wire)) == [(reply, wire)]
