"""The texts that are kept for operators: a purge removes them, whichever process receives it."""

import asyncio

import pytest

from app.core.epochs import next_turn
from app.core.models import StoredResponse
from app.engine.audits import AuditTerms
from app.engine.until_purge import UntilPurge
from tests.bench import Bench, gate, read, settle
from tests.engine.test_audits import saying
from tests.fakes import FakeVerifier

QUESTION, SAME = "valkey what", "valkey is what"


class Known:
    """The epoch of a store, as a process knows it."""

    epoch = "one"


def test_what_was_added_stays_until_the_epoch_changes() -> None:
    known = Known()
    texts = UntilPurge[list[str]](list, lambda: known.epoch)
    for text in "ab":
        added = texts.of("one")
        assert added is not None
        added.append(text)
    assert texts.kept == ["a", "b"]
    known.epoch = next_turn("one", "1")
    assert texts.kept == []
    known.epoch = "one"
    assert texts.kept == []


def test_what_was_looked_up_before_a_purge_is_not_added_after_it() -> None:
    known = Known()
    texts = UntilPurge[list[str]](list, lambda: known.epoch)
    known.epoch = "two"
    assert texts.of("one") is None
    assert texts.of("two") == []


def test_what_is_added_before_a_process_knows_of_a_purge_goes_when_it_does() -> None:
    known = Known()
    texts = UntilPurge[list[str]](list, lambda: known.epoch)
    added = texts.of("one")
    assert added is not None
    added.append("late")
    known.epoch = "two"
    assert texts.of("two") == []


class Shown:
    """A proxy with a verifier and audits, and what it shows an operator of its questions."""

    def __init__(self) -> None:
        self.verifier = FakeVerifier()
        self.verifier.answer = lambda _: 0.95
        self.bench = Bench(verifier=self.verifier, audit=AuditTerms(rate=1.0, draw=lambda: 0.0))

    async def ask(self, text: str) -> None:
        await read(await self.bench.ask(text))
        await settle()

    async def entry(self) -> StoredResponse:
        (stored,) = (await self.bench.store.memory.scan("", 1)).entries
        return stored

    async def counts(self) -> list[int]:
        engine = self.bench.engine
        answered = engine.lookup.wordings.of(await self.entry())
        pairs = engine.pairs
        kept = (answered, engine.lookup.doubts.all(), pairs.all(), pairs.open())
        return [len(texts) for texts in kept]


@pytest.mark.parametrize(
    ("answers", "kept"),
    [
        (("It is 3.", "It is 4."), [1, 1, 1, 0]),
        (("A store of keys.", "A cache that is quick."), [1, 1, 0, 1]),
    ],
)
async def test_a_purge_by_another_process_ends_all_of_them_and_nothing_else_does(
    answers: tuple[str, str], kept: list[int]
) -> None:
    shown = Shown()
    shown.bench.upstream.answer = saying(*answers)
    for text in (QUESTION, SAME):
        await shown.ask(text)
    assert await shown.counts() == kept
    await shown.ask(QUESTION)
    assert await shown.counts() == kept
    await shown.bench.store.memory.advance_epoch()
    assert await shown.counts() == [0, 0, 0, 0]
    await shown.ask(SAME)
    assert await shown.counts() == kept


@pytest.mark.parametrize("slow", ["verifier", "audit"])
async def test_a_hit_during_which_another_process_purges_leaves_no_text(slow: str) -> None:
    shown = Shown()
    shown.bench.upstream.answer = saying("It is 3.", "It is 4.")
    await shown.ask(QUESTION)
    free, wait = gate()
    part = shown.verifier if slow == "verifier" else shown.bench.upstream
    part.before = wait
    asking = asyncio.create_task(shown.ask(SAME))
    await settle()
    await shown.bench.store.memory.advance_epoch()
    free.set()
    await asking
    await settle()
    assert await shown.counts() == [0, 0, 0, 0]
