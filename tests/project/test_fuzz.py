"""Whatever bytes strangers send, a reader accepts or refuses them, and raises no other error.

`scripts/test tests/project/test_fuzz.py --hypothesis-profile=thorough` tries many more inputs.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzzing import TARGETS

PIECES = st.binary(max_size=12) | st.sampled_from(
    [
        *(
            b"\r\n",
            b"\n\n",
            b"\0",
            b"\xff\xfe",
            b"\xef\xbb\xbf",
            b"\\ud800",
            b"\\u0000",
            b'"',
            b"{",
        ),
        *(
            b"[" * 40,
            b"null",
            b"-1",
            b"1e999",
            b"NaN",
            b"9" * 400,
            b"[DONE]",
            b"data: ",
            b"event: ",
        ),
        *(b": ", b", ", b";", b"=", b"%", b"max-age=", b"true", b"{}", b"[]", b'""'),
    ]
)
EDITS = st.lists(
    st.tuples(st.integers(0, 5000), st.integers(0, 30), PIECES), min_size=1, max_size=6
)


def edited(seed: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    """Apply edits to `seed`: each puts a piece in place of the bytes at a position."""
    for place, length, piece in edits:
        at = place % (len(seed) + 1)
        seed = seed[:at] + piece + seed[at + length :]
    return seed


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=settings().max_examples // 4)  # for each of many
@given(st.data())
def test_whatever_is_written_is_read_or_refused(name: str, data: st.DataObject) -> None:
    target = TARGETS[name]
    seed = data.draw(st.sampled_from(target.seeds))
    target.reads(data.draw(st.binary(max_size=400) | EDITS.map(lambda edits: edited(seed, edits))))


@pytest.mark.parametrize("name", TARGETS)
def test_what_fuzzing_begins_with_is_read(name: str) -> None:
    target = TARGETS[name]
    assert all(target.reads(seed) for seed in target.seeds)
