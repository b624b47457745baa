import pytest

from app.matching.guards.languages import language_of, script_of


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("what is the capital", "en"),
        ("was ist die hauptstadt", "de"),
        ("quelle est la capitale", "fr"),
        ("cuál es la capital", "es"),
        ("perché è la capitale", "it"),
        ("jaka jest stolica", "pl"),
        ("valkey search", None),
        ("car oil replacement frequency", None),
        ("usain bolt 100 m record", None),
        ("ab test sample size", None),
        ("i would like to order more to me", "en"),
        ("the und der what", None),
    ],
)
def test_small_words_give_a_language_away(text: str, language: str | None) -> None:
    assert language_of(text.split()) == language


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("plain", "latin"),
        ("naïve café", "latin"),
        ("Привет, Anna", "cyrillic"),
        ("γειά", "greek"),
        ("如何打开", "han"),
        ("開き方を教えて", "kana"),
        ("안녕", "hangul"),
        ("שלום", "hebrew"),
        ("١٢٣ مرحبا", "arabic"),
        ("…—", "latin"),
    ],
)
def test_most_letters_tell_the_script(text: str, script: str) -> None:
    assert script_of(text) == script
