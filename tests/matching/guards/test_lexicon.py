from decimal import Decimal

import pytest

from app.core.models import Guard
from app.matching.guards.lexicon import LANGUAGES, load, load_markers, load_units

LEXICONS = {language: load(language) for language in LANGUAGES}
EN = LEXICONS["en"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_knows_each_kind_of_word(language: str) -> None:
    lexicon = LEXICONS[language]
    assert lexicon.numbers
    assert lexicon.multipliers
    assert lexicon.vague < set(lexicon.numbers)
    assert lexicon.comparing
    assert lexicon.joints
    assert lexicon.openings
    assert lexicon.requests
    assert lexicon.picking
    assert lexicon.clauses
    assert lexicon.personal
    assert lexicon.titles or lexicon.has_capital_nouns
    words = [lexicon.look_up(word) for word in load_markers()]
    assert any(word.negates for word in words)
    assert any(word.is_function for word in words)
    assert any(word.way == "from" for word in words) or language == "fr"


@pytest.mark.parametrize(
    ("word", "other"),
    [("dogs", "dog"), ("movie", "film"), ("went", "going"), ("colour", "colors"), ("USA", "usa")],
)
def test_inflections_and_synonyms_share_a_class(word: str, other: str) -> None:
    first, second = EN.look_up(word.lower()), EN.look_up(other)
    assert set(first.classes) & set(second.classes)


@pytest.mark.parametrize("word", ["wedding", "suns", "marred"])
def test_inflections_of_other_words_are_no_alternatives(word: str) -> None:
    assert not any(member.place[0] is Guard.DATES for member in EN.look_up(word).members)


@pytest.mark.parametrize(("word", "common"), [("loudest", True), ("ate", True), ("kefir", False)])
def test_common_words_are_known(word: str, common: bool) -> None:
    assert EN.look_up(word).is_common is common


@pytest.mark.parametrize("word", ["kefir", "zephyrion", "zephyrions"])
def test_a_word_that_is_not_listed_is_not_remembered(word: str) -> None:
    """Otherwise, the speed of the next look-up would reveal which words other callers use."""
    first, second = EN.look_up(word), EN.look_up(word)
    assert first == second
    assert first is not second


@pytest.mark.parametrize(
    ("language", "digits", "value"),
    [
        ("en", "1,000", 1000),
        ("en", "1,000,000.5", 1_000_000.5),
        ("en", "3.141", 3.141),
        ("en", "3,5", 3.5),
        ("de", "1.000", 1000),
        ("de", "1.000,5", 1000.5),
        ("de", "3.14", 3.14),
        ("fr", "3,5", 3.5),
    ],
)
def test_digits_are_read_as_the_language_writes_them(
    language: str, digits: str, value: float
) -> None:
    assert LEXICONS[language].parse(digits) == Decimal(str(value))


def test_units_measure_in_a_base() -> None:
    units = load_units("units")
    assert units["km"] == units["kilometres"] == ("metre", Decimal(1000))
    assert units["mg"] == ("kilogram", Decimal("0.000001"))
