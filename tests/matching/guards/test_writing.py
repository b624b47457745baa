import pytest

from app.core.models import Guard
from app.matching.guards.proofs import refusals
from app.matching.guards.reading import examine

APART = [
    ("Decode this base64: aGVsbG8gd29ybGQ=", "Decode this base64: AGvSbg8GD29YBgq="),
    ("Who made the video dQw4w9WgXcQ?", "Who made the video DqW4W9wGxCq?"),
    ("What does getURLByIdFast do?", "what does geturlbyidfast do?"),
    ('Count the spaces in "a b"', 'Count the spaces in "a     b"'),
    ("What is wrong?\nif x:\n    y()\nz()", "What is wrong?\nif x:\n    y()\n    z()"),
    ("Explain `a b`", "Explain `ab`"),
]
ALIKE = [
    ("What is Valkey?", "what is valkey?"),
    ("What is JavaScript?", "what is javascript?"),
    ("WHAT IS AN API", "What is an API"),
    ("How do I  cook pasta?", "How do I cook pasta?"),
    (" What's new? ", "What's new?"),
    ("Decode aGVsbG8gd29ybGQ=", "Please decode aGVsbG8gd29ybGQ= for me"),
    ("iPhone or Android", "iphone or android"),
    ("Is PewDiePie on AirBnB?", "is pewdiepie on airbnb?"),
    ("I'm late.What's next?", "I'm late. What's next?"),
]


def are_written_apart(a: str, b: str) -> bool:
    return Guard.WRITING in refusals(examine(a), examine(b))


@pytest.mark.parametrize(("a", "b"), APART)
def test_what_only_the_letters_tell_keeps_two_texts_apart(a: str, b: str) -> None:
    assert are_written_apart(a, b)
    assert are_written_apart(b, a)


@pytest.mark.parametrize(("a", "b"), ALIKE)
def test_a_careless_hand_makes_no_other_question(a: str, b: str) -> None:
    assert not are_written_apart(a, b)
    assert not are_written_apart(b, a)
