"""Decoding of content codings."""

import gzip
import sys
import zlib
from collections.abc import Callable

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.content_codings import content_coding, decoder_for

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


def raw_deflate(data: bytes) -> bytes:
    coder = zlib.compressobj(wbits=-15)
    return coder.compress(data) + coder.flush()


CODERS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("gzip", gzip.compress),
    ("x-gzip", lambda data: gzip.compress(data[:7]) + gzip.compress(data[7:])),
    ("deflate", zlib.compress),
    ("deflate", raw_deflate),
    ("br", brotli.compress),
    ("zstd", zstd.compress),
    ("zstd", lambda data: zstd.compress(data[:7]) + zstd.compress(data[7:])),
    ("gzip, br", lambda data: brotli.compress(gzip.compress(data))),
    ("br, zstd, deflate", lambda data: zlib.compress(zstd.compress(brotli.compress(data)))),
]


def decode(coding: str, data: bytes, size: int = 1 << 20) -> tuple[list[bytes], bool]:
    decoder = decoder_for(coding)
    assert decoder is not None
    cut = [data[at : at + size] for at in range(0, len(data), size)]
    return [piece for part in cut for piece in decoder.feed(part)], decoder.is_finished


@given(data=st.binary(max_size=500), times=st.integers(1, 500), size=st.integers(1, 4096))
@pytest.mark.parametrize(("coding", "encode"), CODERS)
def test_what_was_coded_comes_back_however_it_is_cut(
    coding: str, encode: Callable[[bytes], bytes], data: bytes, times: int, size: int
) -> None:
    pieces, is_finished = decode(coding, encode(data * times), size)
    assert b"".join(pieces) == data * times
    assert is_finished


@pytest.mark.parametrize(("coding", "encode"), CODERS)
def test_a_bomb_expands_no_faster_than_it_is_read(
    coding: str, encode: Callable[[bytes], bytes]
) -> None:
    decoder = decoder_for(coding)
    assert decoder is not None
    pieces = decoder.feed(encode(bytes(5_000_000)))
    sizes = [len(piece) for piece in pieces]
    assert sum(sizes) == 5_000_000
    assert max(sizes) < 100_000


@pytest.mark.parametrize(("coding", "encode"), CODERS)
def test_what_is_cut_is_not_finished(coding: str, encode: Callable[[bytes], bytes]) -> None:
    assert not decode(coding, encode(b"an answer " * 30)[:-1])[1]


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_what_is_something_else_is_damaged(coding: str) -> None:
    with pytest.raises(ValueError, match="damaged"):
        decode(coding, b'{"id": "an answer without coding"}')


@pytest.mark.parametrize(
    "coding", ["", "compress", "gzip, compress", "compress, gzip", "GZIP", ", ".join(["gzip"] * 5)]
)
def test_other_codings_are_not_known(coding: str) -> None:
    assert decoder_for(coding) is None


@pytest.mark.parametrize(
    ("lines", "coding"),
    [
        ([], ""),
        ([b"identity"], ""),
        ([b" GZip "], "gzip"),
        ([b"gzip,br"], "gzip, br"),
        ([b"gzip", b", identity,\tbr"], "gzip, br"),
    ],
)
def test_several_codings_are_one_text(lines: list[bytes], coding: str) -> None:
    assert content_coding([(b"content-encoding", line) for line in lines]) == coding


def test_codings_that_expand_to_nothing_are_damaged() -> None:
    nothing = gzip.compress(b"")[:10] + b"\0\0\0\xff\xff" * 1_000_000  # empty blocks
    with pytest.raises(ValueError, match="expand to nothing"):
        decode("gzip, br", brotli.compress(nothing, quality=1))
