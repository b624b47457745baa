from decimal import Decimal

import pytest

from app.core.models import Guard
from app.matching.guards.evidence import CLOCK, Quantity
from app.matching.guards.reading import examine


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("15 packs", [15]),
        ("fifteen packs", [15]),
        ("twenty-five packs", [25]),
        ("two hundred packs", [200]),
        ("3 million people", [3_000_000]),
        ("30k", [30_000]),
        ("in 2016-17", [2016, 2017]),
        ("in 2016/19", [2016, 19]),
        ("16-17", [16, 17]),
        ("a dozen eggs", []),
        ("two dozen eggs", [24]),
        ("1,000 and 1000.5", [1000, 1000.5]),
        ("Sind das 1.000 oder 1.000,5?", [1000, 1000.5]),
        ("ist das 3.14", [3.14]),
        ("the 15th", [15]),
        ("mp3", []),
        ("foo3 or foo4", [3, 4]),
        ("World War II", []),
        ("one of the first", []),
        ("3 pm", [15 * 60]),
        ("12 am", [0]),
        ("15:30", [15 * 60 + 30]),
        ("3:30 p.m.", [15 * 60 + 30]),
    ],
)
def test_numbers_are_read(text: str, values: list[float]) -> None:
    exact = [Decimal(str(value)) for value in values]
    assert [quantity.value for quantity in examine(text).quantities] == exact


@pytest.mark.parametrize(
    ("text", "value", "zeros"),
    [
        ("parcel 00340434161094042557", "340434161094042557", 2),
        ("agent 007", "7", 2),
        ("agent 000", "0", 2),
        ("gate 07", "7", 0),
        ("0.50 of it", "0.5", 0),
        ("pi is 3.14159265358979323846", "3.14159265358979323846", 0),
        ("٠٠٣٤٠٤٣٤١٦١٠٩٤٠٤٢٥٥٧", "340434161094042557", 2),
        (
            "12345678901234567890123456789012345 million",
            "12345678901234567890123456789012345000000",
            0,
        ),
        ("90071992547409931 pm", "90071992547409931", 0),
    ],
)
def test_digits_are_read_exactly(text: str, value: str, zeros: int) -> None:
    (quantity,) = examine(text).quantities
    assert (quantity.value, quantity.zeros) == (Decimal(value), zeros)


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("5 km", "km"),
        ("5km", "km"),
        ("20%", "%"),
        ("$20", "$"),
        ("20 dollars", "dollars"),
        ("100°F", "°f"),
        ("3 pm", CLOCK),
        ("20 in 1 day", ""),
    ],
)
def test_units_stand_beside_their_number(text: str, unit: str) -> None:
    assert examine(text).quantities[0].unit == unit


@pytest.mark.parametrize(
    ("text", "quantity"),
    [
        ("python 3", Quantity(Decimal(3), is_of_a_thing=True)),
        ("after 6", Quantity(Decimal(6), is_a_bound=True)),
        ("the 6", Quantity(Decimal(6))),
        ("elections 2016", Quantity(Decimal(2016))),
    ],
)
def test_what_precedes_a_number_tells_its_part(text: str, quantity: Quantity) -> None:
    assert examine(text).quantities == (quantity,)


@pytest.mark.parametrize(
    ("text", "denied"),
    [
        ("What is not Paris?", {"paris"}),
        ("can't dogs eat grapes", {"dog"}),
        ("whether or not it is ripe", set()),
        ("is it ripe or not?", set()),
        ("I don't know how to bake", set()),
    ],
)
def test_negations_reach_the_next_term(text: str, denied: set[str]) -> None:
    evidence = examine(text)
    assert evidence.denied >= denied
    assert bool(denied) == (evidence.negations > 0)


def test_capitals_make_names_only_inside_sentences() -> None:
    terms = examine("Did Grace meet Ada? Where was Alan?").terms
    assert [term.word for term in terms if term.is_name] == ["grace", "ada", "alan"]
    terms = examine("Did Dr. Turing meet President Truman?").terms
    assert [term.word for term in terms if term.is_name] == ["turing", "truman"]
    assert not any(term.is_name for term in examine("Best Way To Cook Fresh Green Peas").terms)
    assert not any(term.is_name for term in examine("Ist der Hund von Herrn Maier hier?").terms)


def test_ways_are_read_from_prepositions() -> None:
    assert examine("from Paris to Rome").ways == {"from": {"paris"}, "to": {"rome"}}
    assert examine("leaving Paris for a tour").ways == {"from": {"paris"}}
    assert examine("arriving in Rome").ways == {"to": {"rome"}}
    assert examine("between Paris and Rome").ways == {"first": {"paris"}, "second": {"rome"}}


def test_a_question_after_the_question_is_no_question_of_its_own() -> None:
    guards = {guard for guard, _ in examine("Is the sky blue? Why?").alternatives}
    assert Guard.QUESTIONS not in guards
    assert Guard.QUESTIONS in {guard for guard, _ in examine("Why?").alternatives}


def test_phrases_count_as_one_word() -> None:
    assert [term.word for term in examine("trains to New York").terms] == ["trains", "new york"]
