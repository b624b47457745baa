import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.tags import (
    LONGEST,
    MOST_TAGS,
    UNTAGGED,
    Tagging,
    checked_labels,
    tagging_of,
    tags_text,
)

TAGS = st.frozensets(st.text(max_size=9), max_size=MOST_TAGS + 2)


def tagged(*values: str) -> list[tuple[bytes, bytes]]:
    return [(b"x-cache-tags", value.encode()) for value in values]


@pytest.mark.parametrize(
    ("values", "tags"),
    [
        ((), set()),
        (("",), set()),
        ((" , ,\t",), set()),
        (("a",), {"a"}),
        (("a, b",), {"a", "b"}),
        (("a,b", "c,,a"), {"a", "b", "c"}),
        ((" a b \t,",), {"a b"}),
        (("A, a",), {"A", "a"}),
        (("user:{1}|*-\\ 'x'", "größe"), {"user:{1}|*-\\ 'x'", "größe"}),
        (("a" * LONGEST,), {"a" * LONGEST}),
        ((",".join(map(str, range(MOST_TAGS))),), set(map(str, range(MOST_TAGS)))),
    ],
)
def test_tags_are_a_list_in_one_line_or_several(values: tuple[str, ...], tags: set[str]) -> None:
    assert tagging_of(tagged(*values)) == Tagging("", frozenset(tags))


@pytest.mark.parametrize(
    "headers",
    [
        tagged("a" * (LONGEST + 1)),
        tagged("ü" * (LONGEST // 2 + 1)),
        tagged(",".join(map(str, range(MOST_TAGS + 1)))),
        [(b"x-cache-namespace", b"n" * (LONGEST + 1))],
    ],
)
def test_what_is_too_long_or_too_much_is_refused_as_a_whole(
    headers: list[tuple[bytes, bytes]],
) -> None:
    assert tagging_of(headers) is None


def test_a_namespace_keeps_its_name() -> None:
    assert tagging_of([(b"x-cache-namespace", "bücher, neu".encode())]) == Tagging("bücher, neu")
    assert tagging_of([(b"x-cache-namespace", b"b\xfccher")]) == Tagging("bücher")
    assert tagging_of([(b"x-cache-control", b"a")]) is UNTAGGED


def test_an_entry_answers_only_requests_all_of_whose_tags_it_carries() -> None:
    entry = Tagging("n", frozenset({"a", "b"}))
    for tags in ((), ("a",), ("b", "a")):
        assert entry.cover(Tagging("", frozenset(tags)))
    for tags in (("c",), ("a", "c")):
        assert not entry.cover(Tagging("n", frozenset(tags)))
    assert UNTAGGED.cover(UNTAGGED)


def test_tags_are_joined_as_long_as_they_are_few_enough() -> None:
    one = Tagging("n", frozenset({"a"}))
    assert one.joined(Tagging("", frozenset({"b"}))) == Tagging("n", frozenset({"a", "b"}))
    many = Tagging("", frozenset(map(str, range(MOST_TAGS))))
    assert one.joined(many) == one


@given(st.text(max_size=9), TAGS)
def test_labels_that_are_allowed_come_back_from_a_header(namespace: str, tags: set[str]) -> None:
    labels = checked_labels(namespace, tags)
    if labels is not None:
        assert len(labels.tags) <= MOST_TAGS
        lines = tagged(tags_text(labels.tags)) if tags else []
        lines += [(b"x-cache-namespace", namespace.encode())] if namespace else []
        assert tagging_of(lines) == labels


@pytest.mark.parametrize("tag", ["", "a,b", " a", "a\t", "a" * (LONGEST + 1)])
def test_what_a_header_could_not_say_is_no_tag(tag: str) -> None:
    assert checked_labels("", [tag]) is None
