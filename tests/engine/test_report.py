"""The report for an operator who wants to turn the cache on or change its dial."""

import json
from typing import Any

import pytest

from app.engine.audits import AuditTerms
from app.engine.report import outcomes
from app.rules.modes import Mode
from app.stores.memory.store import MemoryStore
from tests.bench import Bench, read, settle
from tests.engine.test_audits import QUESTION, SAME, hit, saying
from tests.engine.test_savings import PRICES, answering

VERIFIED = AuditTerms(dial=0.05, least=0.9)


async def forget(bench: Bench) -> None:
    """Delete all entries but one, so that a paraphrase is found by meaning again."""
    store: MemoryStore = bench.store.memory
    for stored in (await store.scan("", 10)).entries:
        if stored.key.text != QUESTION:
            await store.delete(stored.id)


async def report_after(terms: AuditTerms, wrong: int, right: int) -> tuple[Bench, Any]:
    """Make `wrong` wrong and `right` right hits in shadow mode. Return the bench and the report."""
    bench = Bench(mode=Mode.SHADOW, audit=terms)
    bench.upstream.answer = saying("It is 3.")
    await hit(bench, QUESTION, 81)
    for number in range(wrong + right):
        bench.upstream.answer = saying("It is 4." if number < wrong else "It is 3.")
        await hit(bench, SAME)
        await forget(bench)
    document = await bench.engine.report.document()
    json.dumps(document)
    return bench, document


@pytest.mark.parametrize(
    ("terms", "wrong", "right", "setting", "present", "suggested", "why"),
    [
        (VERIFIED, 5, 5, "REPRISE_MAX_ERROR_RATE", 0.05, None, "at least 50"),
        (VERIFIED, 0, 60, "REPRISE_MAX_ERROR_RATE", 0.05, 0.05, "up to 5 % may be"),
        (VERIFIED, 20, 40, "REPRISE_MAX_ERROR_RATE", 0.05, 0.007, "only 5 % may be"),
        (AuditTerms(dial=0.05), 20, 40, "REPRISE_MAX_DISTANCE", 0.15, 0.075, "only 5 % may be"),
    ],
)
async def test_a_dial_is_suggested_by_what_was_compared(  # noqa: PLR0913, PLR0917 - a table's row
    terms: AuditTerms,
    wrong: int,
    right: int,
    setting: str,
    present: float,
    suggested: float | None,
    why: str,
) -> None:
    bench, document = await report_after(terms, wrong, right)
    dial = document["dial"]
    assert (dial["setting"], dial["present"], dial["suggested"]) == (setting, present, suggested)
    assert why in dial["why"]
    assert document["compared"]["semantic"]["wrong"] == wrong
    assert document["mode"] == "shadow"
    pairs = document["pairs"]
    assert len(pairs) == min(1, wrong)  # the same two questions are told of once
    if pairs:
        assert (pairs[0]["asked"], pairs[0]["upstreams_answer"]) == (SAME, "It is 4.")
        assert pairs[0]["is_served"] is False
    await bench.aclose()


async def test_what_would_be_saved_is_told_apart_from_what_was() -> None:
    bench = Bench(mode=Mode.SHADOW, prices=PRICES)
    answering(bench, {"prompt_tokens": 1000, "completion_tokens": 500}, 1.5)
    for _ in range(3):
        await read(await bench.ask(model="small"))
        await settle()
    document = await bench.engine.report.document()
    unsaved = document["would_be"]["unsaved"]
    assert (unsaved["hits"], unsaved["usd"], unsaved["seconds"]) == (2, 0.004, 3.0)
    assert document["savings"]["hits"] == 0


def test_outcomes_are_told_by_tier() -> None:
    totals = {
        "requests.HIT.exact:": 3,
        "requests.HIT.semantic:": 2,
        "requests.STALE.exact:": 1,
        "requests.BYPASS.:": 4,
        "shadow.HIT.exact:": 9,
    }
    told = {"exact": 3, "semantic": 2, "stale": 1, "miss": 0, "bypass": 4}
    assert outcomes(totals, "requests") == told
