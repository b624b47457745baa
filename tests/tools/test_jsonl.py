"""Files of JSON lines."""

import gzip
from pathlib import Path

import pytest

from app.core.errors import BadInput
from app.tools.jsonl import read_lines


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_lines_are_read_packed_or_not_and_blank_ones_left_out(tmp_path: Path, name: str) -> None:
    raw = '{"a": "é"}\n\n  \r\n{"a": "two"}'.encode()
    path = tmp_path / name
    path.write_bytes(gzip.compress(raw, mtime=0) if name.endswith(".gz") else raw)
    lines = list(read_lines(path))
    assert [(line.number, line.text("a")) for line in lines] == [(1, "é"), (4, "two")]


@pytest.mark.parametrize(
    ("name", "raw", "reason"),
    [
        ("a.jsonl", b"", "the file has no lines"),
        ("a.jsonl", b"\n \n", "the file has no lines"),
        ("a.jsonl", b'{"a": 1}\n{"a": ', "line 2: not-json"),
        ("a.jsonl", b'{"a": 1, "a": 2}', "line 1: ambiguous-json"),
        ("a.jsonl", b'{"a": "\xff"}', "line 1: not-json"),
        ("a.jsonl", b"[1]", "line 1: not a JSON object"),
        ("a.jsonl.gz", b'{"a": 1}', "not a complete gzip file"),
        ("a.jsonl.gz", gzip.compress(b'{"a": 1}', mtime=0)[:-4], "not a complete gzip file"),
        (
            "a.jsonl.gz",
            gzip.compress(b'{"a": 1}', mtime=0)[:10] + b"\xff\xff",
            "not a complete gzip file",
        ),
    ],
)
def test_what_cannot_be_read_is_told_in_one_line(
    tmp_path: Path, name: str, raw: bytes, reason: str
) -> None:
    path = tmp_path / name
    path.write_bytes(raw)
    with pytest.raises(BadInput) as refused:
        list(read_lines(path))
    assert str(refused.value) == f"{path}: {reason}"


def test_a_file_that_is_not_there_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"none\.jsonl: No such file or directory$"):
        list(read_lines(tmp_path / "none.jsonl"))
    with pytest.raises(BadInput, match=r": Is a directory$"):
        list(read_lines(tmp_path))


@pytest.mark.parametrize("raw", ['{"b": "x"}', '{"a": 1}', '{"a": null}'])
def test_a_field_that_is_no_text_is_told_with_its_place(tmp_path: Path, raw: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(raw)
    (line,) = read_lines(path)
    with pytest.raises(BadInput, match=r'a\.jsonl: line 1: "a" must be a text$'):
        line.text("a")
