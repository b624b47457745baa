from app.rules.key import Isolation, KeyRules
from app.rules.sharing import answers_by_meaning, asker_of, askers_with
from tests.rules.test_decisions import stored

URL = "https://upstream.test/v1"


def test_who_asks_is_named_only_where_all_share() -> None:
    headers = [(b"authorization", b"Bearer a")]
    shared = KeyRules(URL, Isolation.SHARED)
    assert asker_of(headers, KeyRules(URL)) == ""
    assert asker_of(headers, shared) != asker_of([(b"authorization", b"Bearer b")], shared)
    assert asker_of(headers, shared) != asker_of(headers, KeyRules(URL, Isolation.SHARED, b"s"))


def test_no_more_askers_are_kept_than_have_to_be() -> None:
    entry = stored(askers=frozenset({"a"}))
    assert askers_with(None, "a", 2) == {"a"}
    assert askers_with(entry, "a", 2) == {"a"}
    assert askers_with(entry, "b", 2) == {"a", "b"}
    assert askers_with(stored(askers=frozenset({"a", "b"})), "c", 2) == {"a", "b"}
    assert askers_with(entry, "", 2) == {"a"}


def test_an_entry_answers_by_meaning_who_shares_nothing_and_who_has_asked_it() -> None:
    entry = stored(askers=frozenset({"a"}))
    assert answers_by_meaning(entry, "", 2)
    assert answers_by_meaning(entry, "a", 2)
    assert not answers_by_meaning(entry, "b", 2)
    assert answers_by_meaning(stored(is_pinned=True), "b", 2)
