"""Comparing two answers: whether they agree, differ, or leave it open."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.matching.comparison import Agreement, compare

LONG = (
    "Valkey is an open source key-value store that keeps its data in memory. It grew out of Redis "
    "and is developed by a community under the Linux Foundation. Applications use it as a cache, a "
    "message broker and a database. It offers strings, hashes, lists, sets and streams."
)
LONG_TOO = (
    "Valkey, which grew out of Redis, is an open source store of keys and values that keeps data "
    "in memory. A community develops it under the Linux Foundation. It is used as a cache, as a "
    "database and as a message broker, and offers strings, lists, hashes, sets and streams."
)
ABOUT_BREAD = (
    "Knead flour, water, salt and yeast until the dough is smooth, and let it rest in a warm place "
    "until it has doubled. Shape a loaf, cut its top, and bake it in a hot oven with some steam. "
    "It is done when it sounds hollow; let it cool on a rack before you cut the first slice of it."
)


@pytest.mark.parametrize(
    ("one", "other", "agreement"),
    [
        ("Paris.", "Paris.", "right"),
        ("It is  Paris.\n", "It is Paris.", "right"),
        ("The capital is Paris.", "The capital is Lyon.", "wrong"),
        ("The capital is Paris.", "Paris is the capital of France.", "open"),
        ("It has 3 moons.", "It has 4 moons.", "wrong"),
        ("It is 1.5 km away.", "It is 1500 m away.", "open"),
        ("Yes, it can.", "No, it cannot.", "wrong"),
        ("Ja, das geht.", "Nein.", "wrong"),
        ("You can use it at sea.", "You can not use it at sea.", "wrong"),
        ("Boil the pasta.", "Water the plants.", "open"),
        ("1. Boil it.\n2. Eat it.", "1. Cook it.\n2. Eat it.\n3. Rest.", "open"),
        ("", "", "open"),
        ("", "Paris.", "open"),
        (LONG, LONG_TOO, "right"),
        (LONG, ABOUT_BREAD, "open"),
        (f"{LONG} It came in 2024.", f"{LONG_TOO} It came in 2019.", "wrong"),
        (f"{LONG} It came in 2024 with 16 slots.", f"{LONG_TOO} It came in 2024.", "right"),
        ('{"n": 1, "ok": true}', '{"ok": true, "n": 1.0}', "right"),
        ('```json\n{"n": 1}\n```', '{"n": 1}', "right"),
        ('{"n": 1}', '{"n": 2}', "wrong"),
        ("[NaN]", "[NaN]", "right"),
        (f'["{LONG * 400}", 1]', f'["{LONG * 400}", 2]', "right"),
        ('{"n": 1}', '{"n": true}', "wrong"),
        ('{"mood": "glad"}', '{"mood": "sad"}', "wrong"),
        ('{"n": 1}', '{"n": 1, "m": 2}', "open"),
        ('{"n": 1}', "It is 1.", "open"),
        ("[1, 2]", "[1, 3]", "wrong"),
        ('{"why": "It rained all day."}', '{"why": "Rain fell the whole day."}', "open"),
    ],
)
def test_what_differs_is_evidence_of_a_wrong_answer_and_much_in_common_of_a_right_one(
    one: str, other: str, agreement: str
) -> None:
    assert compare(one, other) == compare(other, one) == Agreement(agreement)


WORDS = st.sampled_from([*LONG.split(), "no", "yes", "3", "4", "not", '{"a":', "1}", "`", "\n"])
TEXTS = st.one_of(st.lists(WORDS, max_size=60).map(" ".join), st.text(max_size=60))


@settings(max_examples=60, deadline=None)
@given(TEXTS, TEXTS)
def test_neither_answer_is_the_measure_and_none_contradicts_itself(one: str, other: str) -> None:
    assert compare(one, other) is compare(other, one)
    assert compare(one, one) is not Agreement.WRONG
