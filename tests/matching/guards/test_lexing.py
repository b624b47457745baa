import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.matching.guards.lexing import Kind, pieces, quoted, straighten


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("What's up, Doc?", ["what", "is", "up", "doc"]),
        ("the dog's bone isn't here", ["the", "dog", "bone", "is", "not", "here"]),
        ("it can't, it won't", ["it", "can", "not", "it", "will", "not"]),
        ("they're O'Neil's", ["they", "oneils"]),
        ("it do n't", ["it", "do", "not"]),
        ("the U.S. at 3 p.m.", ["the", "usa", "at", "3", "pm"]),
        ("Ph.D. or M.Sc.", ["phd", "or", "msc"]),
        ("and/or pub/sub", ["and", "or", "pub", "sub"]),
        ("L'été s'en va", ["l", "été", "s", "en", "va"]),
        ("salt & pepper", ["salt", "and", "pepper"]),
        ("mp3, 5km!", ["mp", "3", "5", "km"]),
    ],
)
def test_words_are_split(text: str, words: list[str]) -> None:
    assert [piece.text for piece in pieces(text)] == words


@pytest.mark.parametrize(
    "text",
    [
        *("*.txt", ".bashrc", "/etc/hosts", "~/x", "$HOME", "${x}", "snake_case", "a@b.example"),
        *("c++", "c#", "-r", "--force", "file.txt", "node.js", "2.10.0", "src/app/x"),
        *("https://a.example/b?c=d", "www.a.example", "#123"),
    ],
)
def test_what_is_no_word_is_taken_verbatim(text: str) -> None:
    for written in (text, f'"{text}",', f"({text})"):
        (piece,) = pieces(written)
        assert (piece.kind, piece.text) == (Kind.VERBATIM, text.lower())


def test_case_counts_in_flags_alone() -> None:
    found = [piece.text for piece in pieces("-R A.TXT READ_me")]
    assert found == ["-R", "a.txt", "read_me"]


def test_sentences_begin_after_full_stops() -> None:
    begins = [piece.text for piece in pieces('Is it? "Yes," it is. Good') if piece.begins]
    assert begins == ["is", "yes", "good"]


@pytest.mark.parametrize(
    ("text", "quotes"),
    [
        ('say "Hello there!" twice', {"hello there"}),
        ("say \u201cHello\u201d and \u2018bye\u2019", {"hello", "bye"}),
        ("sag »Hallo« und „Tschüss“", {"hallo", "tschüss"}),
        ("it's the dogs' bone", set()),
    ],
)
def test_quotes_are_found(text: str, quotes: set[str]) -> None:
    assert quoted(straighten(text)) == quotes


@given(st.text())
def test_no_piece_is_empty(text: str) -> None:
    assert all(piece.text for piece in pieces(straighten(text)))
