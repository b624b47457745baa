"""What an explanation tells."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from app.core.cache_status import CacheStatus, Outcome
from app.core.models import ClientRequest, Fullness, Guard, Header, Page, StoredResponse
from app.engine.explain import Judged
from app.stores.memory.store import MemoryStore
from tests.asking import Ask, body_of
from tests.bench import CHAT, Bench, read, settle
from tests.fakes import FakeVerifier, embedding_of

ANN: Header = (b"authorization", b"Bearer sk-ann")
BOB: Header = (b"authorization", b"Bearer sk-bob")


async def fail() -> None:
    raise RuntimeError


def texts(judged: Sequence[Judged] | None) -> list[str | None]:
    return [one.stored.key.text for one in judged or ()]


async def keep(bench: Bench, *asked: Ask) -> Sequence[StoredResponse]:
    """Have answers stored, and give all that are."""
    for ask in asked:
        await read(await bench.send(ask.body, *ask.headers))
        await settle()
    return (await bench.store.memory.scan("", 100)).entries


async def test_the_nearest_are_shown_with_all_that_keeps_them_from_answering() -> None:
    verifier = FakeVerifier()
    verifier.answer = lambda text: 0.95 if "and" in text else 0.5
    bench = Bench(verifier=verifier)
    for text in ("valkey can not scale to 7", "valkey scale", "valkey and can scale", "pasta how"):
        await keep(bench, Ask(body_of(text)))
    told = await bench.explain(body_of("valkey can scale"))
    assert told.nearest is not None
    assert [one.distance for one in told.nearest] == sorted(
        one.distance or 0.0 for one in told.nearest
    )
    found = {one.stored.key.text: one for one in told.nearest}
    likely = found["valkey and can scale"]
    assert (likely.answers, likely.probability) == (True, 0.95)
    refused = found["valkey can not scale to 7"]
    assert (refused.refused_by, refused.probability) == (refused.guards[0], None)
    assert {Guard.NEGATION} <= set(refused.guards)
    unlikely = found["valkey scale"]
    assert (unlikely.refused_by, unlikely.probability, unlikely.guards) == ("verifier", 0.5, ())
    assert (found["pasta how"].refused_by, found["pasta how"].answers) == ("distance", False)
    assert told.status == CacheStatus.hit(likely.stored, bench.clock(), likely.distance)


async def test_several_guards_are_all_named() -> None:
    bench = Bench()
    await keep(bench, Ask(body_of("valkey turn off 7 nodes")))
    told = await bench.explain(body_of("valkey turn on 8 nodes"))
    (refused,) = told.nearest or ()
    assert {Guard.NUMBERS, Guard.ANTONYMS} <= set(refused.guards)
    assert refused.refused_by == refused.guards[0]


@pytest.mark.parametrize(
    ("directive", "expected"),
    [(b"", None), (b"max-age=9", "directives"), (b"no-cache", "directives")],
)
async def test_what_is_too_old_for_the_caller_says_so(
    directive: bytes, expected: str | None
) -> None:
    bench = Bench()
    await keep(bench, Ask(body_of("valkey what")), Ask(body_of("valkey other thing")))
    bench.clock.advance(10)
    told = await bench.explain(body_of("valkey what"), (b"cache-control", directive))
    assert told.exact is not None
    assert (told.exact.refused_by, told.exact.answers) == (expected, expected is None)
    assert told.nearest is not None
    assert told.nearest[0].refused_by == expected


async def test_what_lacks_the_usage_that_the_caller_is_entitled_to_says_so() -> None:
    bench = Bench()
    plain = without_usage(await keep(bench, Ask(body_of("valkey what")), Ask(body_of("valkey is"))))
    for stored in plain:
        await bench.store.put(stored, embedding_of(stored.key.text or ""))
    told = await bench.explain(body_of("valkey what"))
    assert told.status is not None
    assert told.exact is not None
    assert (told.status.outcome, told.exact.refused_by) == (Outcome.MISS, "usage")
    assert {judged.refused_by for judged in told.nearest or ()} == {"usage"}
    told = await bench.explain(body_of("valkey what", stream=True))
    assert told.exact is not None
    assert told.exact.answers


def without_usage(responses: Sequence[StoredResponse]) -> list[StoredResponse]:
    return [replace(stored, fullness=Fullness.PLAIN) for stored in responses]


async def test_a_stale_response_that_is_still_there_says_so() -> None:
    bench = Bench(ttl=60.0)
    (bench.store.got,) = await keep(bench, Ask(body_of()))
    bench.clock.advance(60)
    told = await bench.explain(body_of())
    assert told.exact is not None
    assert (told.exact.refused_by, told.status and told.status.outcome) == ("stale", Outcome.MISS)


@pytest.mark.parametrize(
    ("body", "exact_only"),
    [
        (body_of("valkey what"), False),
        (body_of(" "), True),
        (body_of("Observation: sun"), True),
        (body_of("valkey unseen"), True),
    ],
)
async def test_what_cannot_be_matched_by_meaning_says_so(body: bytes, exact_only: bool) -> None:
    bench = Bench()
    bench.embedder.answer = lambda t: None if "unseen" in t else embedding_of(t)
    told = await bench.explain(body)
    assert (told.exact_only, told.nearest is None) == (exact_only, exact_only)


@pytest.mark.parametrize("control", [(), ((b"cache-control", b"only-if-cached"),)])
async def test_a_body_that_is_too_large_to_be_read_goes_past_the_cache(
    control: tuple[Header, ...],
) -> None:
    request = ClientRequest("POST", b"/chat/completions", b"", control)
    told = await Bench().explainer.explain(CHAT, request, None)
    assert told.status == (None if control else CacheStatus.bypass("body-too-large"))
    assert (told.bypass, told.key) == ("body-too-large", None)


@pytest.mark.parametrize(
    ("other", "differs"),
    [
        (Ask(body_of(temperature=0.5), (ANN,)), ["body.temperature"]),
        (Ask(body_of(), (ANN, (b"x-cache-namespace", b"a"))), ["namespace"]),
        (Ask(body_of(), (ANN, (b"openai-project", b"p"))), ["header.openai-project"]),
        (Ask(body_of(), (ANN, (b"x-forwarded-email", b"a@b"))), ["header.x-forwarded-email"]),
        (Ask(body_of(temperature=0.5, seed=1), (ANN,)), ["body.seed", "body.temperature"]),
        (Ask(body_of(temperature=0.5), (BOB,)), None),
    ],
)
async def test_what_differs_from_the_nearest_other_partition_is_named(
    other: Ask, differs: list[str] | None
) -> None:
    bench = Bench()
    await keep(bench, other)
    told = await bench.explain(body_of(), ANN)
    found = told.elsewhere and sorted(told.elsewhere.differs)
    assert (found, told.searched, told.searched_all) == (differs, 1, True)


async def test_fewer_differences_come_first_then_more_words_in_common_then_the_youngest() -> None:
    bench = Bench()
    await keep(
        bench,
        Ask(body_of("valkey what", temperature=0.5, seed=1)),
        Ask(body_of("pasta how", temperature=0.5)),
    )
    for temperature in (0.1, 0.2):
        bench.clock.advance(1)
        await keep(bench, Ask(body_of("valkey is what", temperature=temperature)))
    await keep(bench, Ask(body_of("valkey what now")))  # our own partition
    told = await bench.explain(body_of("valkey what"))
    assert told.elsewhere is not None
    assert (told.elsewhere.stored.key.text, told.elsewhere.differs) == (
        "valkey is what",
        ["body.temperature"],
    )
    assert told.elsewhere.stored.stored_at == bench.clock.now


@pytest.mark.parametrize("age", [0, 70])
async def test_those_behind_the_nearest_three_are_shown_and_not_read(age: int) -> None:
    verifier = FakeVerifier()
    verifier.answer = lambda _: 0.5
    bench = Bench(verifier=verifier, ttl=60.0, stale_while_revalidate=60.0)
    for word in ("that", "this", "here", "there", "then", "thus"):
        await keep(bench, Ask(body_of(f"valkey is {word}")))
    bench.clock.advance(age)
    told = await bench.explain(body_of("valkey"))
    assert [one.refused_by for one in told.nearest or ()] == ["verifier"] * 3 + ["rank"] * 3


async def test_what_might_answer_but_for_a_likelier_one_says_so() -> None:
    verifier = FakeVerifier()
    verifier.answer = lambda _: 0.0
    bench = Bench(verifier=verifier)
    for word in ("that", "this"):
        await keep(bench, Ask(body_of(f"valkey is {word}")))
    verifier.answer = {"valkey is that": 0.95, "valkey is this": 0.99}.__getitem__
    told = await bench.explain(body_of("valkey is"))
    shown = {one.stored.key.text: (one.refused_by, one.answers) for one in told.nearest or ()}
    assert shown == {"valkey is that": ("rank", False), "valkey is this": (None, True)}


async def test_what_is_explained_does_not_count_as_used() -> None:
    bench = Bench()
    bench.store.memory = MemoryStore(2, bench.clock, lambda _kind, _reason: None)
    await keep(bench, Ask(body_of("valkey what")), Ask(body_of("pasta how")))
    for text in ("valkey what", "valkey is what"):
        told = await bench.explain(body_of(text))
        assert told.status is not None
        assert told.status.outcome is Outcome.HIT
    left = await keep(bench, Ask(body_of("tea when")))
    assert {stored.key.text for stored in left} == {"pasta how", "tea when"}


async def test_no_more_than_some_stored_responses_are_looked_through() -> None:
    bench = Bench()
    bench.store.page = Page([*await keep(bench, Ask(body_of()))] * 250, "more")
    told = await bench.explain(body_of())
    assert (told.searched, told.searched_all) == (100_000, False)


async def test_a_response_that_does_not_tell_its_parts_is_left_out() -> None:
    bench = Bench()
    (stored,) = await keep(bench, Ask(body_of(temperature=0.5)))
    old = StoredResponse(stored.key, "m", stored.content, stored.stored_at, 60.0)
    await bench.store.memory.put(old, None)
    told = await bench.explain(body_of())
    assert (told.elsewhere, told.searched) == (None, 1)


@pytest.mark.parametrize(
    ("part", "failures"),
    [("store", {"store-unavailable"}), ("embedder", {"embedder-unavailable"})],
)
async def test_a_part_that_is_down_is_named(part: str, failures: set[str]) -> None:
    bench = Bench()
    await keep(bench, Ask(body_of("valkey what")))
    getattr(bench, part).before = fail
    told = await bench.explain(body_of("valkey is what"))
    assert (told.failures, told.nearest) == (failures, None)
    assert told.status is not None
    assert (told.status.outcome, told.status.detail) == (Outcome.MISS, *failures)


async def test_an_exact_match_answers_though_the_search_fails() -> None:
    bench = Bench()
    (kept,) = await keep(bench, Ask(body_of()))
    again = Bench()
    await again.store.memory.put(replace(kept, epoch=""), None)
    again.embedder.before = fail
    told = await again.explain(body_of())
    assert told.status == CacheStatus.hit(kept, again.clock(), None)
    assert (told.failures, told.nearest) == ({"embedder-unavailable"}, None)
    assert told.exact is not None
    assert told.exact.answers
