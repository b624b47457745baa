import pytest

from app.matching.guards.evidence import Term
from app.matching.guards.lexing import Kind
from app.matching.guards.likeness import are_related, are_written_alike


def term(word: str) -> Term:
    return Term(word, (word,))


@pytest.mark.parametrize(
    ("x", "y", "related"),
    [
        ("propose", "proposing", True),
        ("organise", "organisation", True),
        ("different", "difference", True),
        ("signature", "singature", True),
        ("fluently", "fluency", True),
        ("kitchen", "kithen", True),
        ("ouagadougou", "ouagougou", True),
        ("cat", "car", False),
        ("beer", "bear", False),
        ("typical", "atypical", False),
        ("possible", "impossible", False),
        ("hypertension", "hypotension", False),
        ("austria", "australia", False),
        ("encoding", "embedding", False),
    ],
)
def test_words_are_related_by_ending_or_slip(x: str, y: str, related: bool) -> None:
    assert are_related(term(x), term(y)) is related
    assert are_related(term(y), term(x)) is related


def test_numbers_and_identifiers_have_no_inflections() -> None:
    assert not are_related(
        Term("10000", ("10000",), Kind.NUMBER), Term("1000", ("1000",), Kind.NUMBER)
    )
    assert not are_related(Term("-rs", ("-rs",), Kind.VERBATIM), Term("-r", ("-r",), Kind.VERBATIM))


@pytest.mark.parametrize(
    ("x", "y", "alike"),
    [("wi fi", "wifi", True), ("artificial intelligence", "ai", True), ("new york", "yn", False)],
)
def test_spaces_and_initials_change_nothing(x: str, y: str, alike: bool) -> None:
    left, right = [term(word) for word in x.split()], [term(word) for word in y.split()]
    assert are_written_alike(left, right) is alike
    assert are_written_alike(right, left) is alike
