"""Audits of served hits: the upstream requests, the counts, and the effects."""

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from app.core.models import ClientRequest, Header
from app.core.selectors import EVERYTHING, Selector
from app.engine.audits import AuditTerms
from app.rules.modes import Mode
from tests.bench import Bench, content, gate, read, settle
from tests.fakes import FakeResponse, FakeVerifier, completion

ALL = AuditTerms(rate=1.0, at_once=1000, a_second=1_000_000)
ANN: Header = (b"authorization", b"Bearer sk-ann")
COOKIE: Header = (b"cookie", b"session=ann")
QUESTION, SAME = "valkey what", "valkey is what"


def saying(*answers: str) -> Callable[[ClientRequest], FakeResponse]:
    """Return an upstream that gives the answers in order, and repeats the last one for ever."""
    left = list(answers)

    def answer(_: ClientRequest) -> FakeResponse:
        text = left.pop(0) if len(left) > 1 else left[0]
        return FakeResponse([json.dumps(completion(text)).encode()])

    return answer


def audited(bench: Bench, tier: str, agreement: str) -> float:
    return sum(
        sample.value
        for family in bench.metrics.audited.collect()
        for sample in family.samples
        if sample.name.endswith("_total")
        and (sample.labels["tier"], sample.labels["agreement"]) == (tier, agreement)
    )


async def hit(bench: Bench, text: str = SAME, times: int = 1, *headers: Header) -> None:
    """Ask a question `times` times. Each time, wait until the work in the background is done."""
    for _ in range(times):
        await read(await bench.ask(text, *headers))
        await settle()


async def test_a_hit_is_checked_without_the_callers_credential_and_changes_no_answer() -> None:
    bench = Bench(audit=ALL)
    bench.upstream.answer = saying("It is 3.", "It is 4.")
    await hit(bench, QUESTION, 1, ANN, COOKIE)
    head, body = await read(await bench.ask(SAME, ANN, COOKIE, (b"cache-control", b"max-age=60")))
    await settle()
    assert (head.cache_status.outcome.value, content(body)) == ("HIT", "It is 3.")
    first, second = bench.upstream.requests
    assert json.loads(second.body)["messages"][0]["content"] == SAME  # type: ignore[arg-type]
    names = {name for name, _ in second.headers}
    assert names & {b"authorization", b"cookie", b"cache-control"} == set()
    assert {b"authorization", b"cookie"} <= {name for name, _ in first.headers}
    assert audited(bench, "semantic", "wrong") == 1
    assert bench.count("reprise_audit_wrong", tier="semantic", bound="value") == 1
    (pair,) = bench.engine.pairs.all()
    assert (pair.asked, pair.stored, pair.is_served) == (SAME, QUESTION, True)
    assert (pair.answer, pair.upstreams_answer) == ("It is 3.", "It is 4.")
    assert await bench.status(SAME, ANN, COOKIE) != "fwd=miss"  # nothing was stored, or removed
    assert len((await bench.store.memory.scan("", 10)).entries) == 1


async def test_a_client_does_not_wait_for_an_audit() -> None:
    bench = Bench(audit=ALL)
    await hit(bench, QUESTION)
    free, wait = gate()
    bench.upstream.before = wait
    assert (await bench.status(QUESTION)).startswith("hit")
    await settle()
    assert len(bench.upstream.requests) == 2
    assert audited(bench, "exact", "right") == 0
    free.set()
    await settle()
    assert audited(bench, "exact", "right") == 1


@pytest.mark.parametrize(
    ("terms", "reason", "asked"),
    [
        (replace(ALL, at_once=2), "busy", 2),
        (replace(ALL, a_second=3), "busy", 3),
    ],
)
async def test_audits_are_bounded(terms: AuditTerms, reason: str, asked: int) -> None:
    bench = Bench(audit=terms)
    await hit(bench, QUESTION)
    free, wait = gate()
    bench.upstream.before = wait
    await hit(bench, QUESTION, 5)
    assert len(bench.upstream.requests) == 1 + asked
    assert bench.count("reprise_not_audited_total", reason=reason) == 5 - asked
    free.set()
    await bench.aclose()


def failing(_: ClientRequest) -> FakeResponse:
    return FakeResponse([b"{}"], 429)


def cut(_: ClientRequest) -> FakeResponse:
    document = completion("It is")
    document["choices"][0]["finish_reason"] = "length"
    return FakeResponse([json.dumps(document).encode()])


def broken(_: ClientRequest) -> FakeResponse:
    raise ValueError


@pytest.mark.parametrize(
    ("answer", "reason"), [(failing, "unfit"), (cut, "unfit"), (broken, "defect")]
)
async def test_an_audit_fails_silently_and_is_counted(
    answer: Callable[[ClientRequest], FakeResponse], reason: str
) -> None:
    bench = Bench(audit=ALL)
    await hit(bench, QUESTION)
    bench.upstream.answer = answer
    assert (await bench.status(QUESTION)).startswith("hit")
    await settle()
    assert bench.count("reprise_not_audited_total", reason=reason) == 1
    assert not any(family.samples for family in bench.metrics.audited.collect())


@pytest.mark.parametrize(
    ("terms", "headers"),
    [
        (replace(ALL, rate=0.0), ()),
        (replace(ALL, may_ask=lambda _: False), ()),
        (ALL, ((b"cache-control", b"only-if-cached"),)),
    ],
)
async def test_what_is_not_to_be_audited_is_not(terms: AuditTerms, headers: Any) -> None:
    bench = Bench(audit=terms)
    await hit(bench, QUESTION)
    await hit(bench, QUESTION, 3, *headers)
    assert len(bench.upstream.requests) == 1


async def test_a_stale_answer_proves_nothing() -> None:
    bench = Bench(audit=ALL, ttl=10, stale_while_revalidate=100)
    await hit(bench, QUESTION)
    bench.clock.advance(20)
    await hit(bench, QUESTION)
    assert len(bench.upstream.requests) == 2  # the revalidation
    assert not any(family.samples for family in bench.metrics.audited.collect())


async def tightened(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """Let audits find exact hits right and hits by meaning wrong, until hits by meaning are off."""
    bench.upstream.answer = saying("It is 3.")
    await hit(bench, QUESTION)
    await hit(bench, QUESTION, 200)
    bench.upstream.answer = saying("It is 4.")
    with caplog.at_level(logging.WARNING, "reprise.audit"):
        await hit(bench, SAME, 48)


async def test_where_too_many_are_wrong_meaning_is_turned_off_loudly(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench(audit=ALL)
    await tightened(bench, caplog)
    assert bench.count("reprise_caution") == 3
    assert "hits by meaning are now off: only exact matches are served" in caplog.text
    assert SAME not in caplog.text
    document = await bench.engine.findings.document()
    assert document["audit"]["caution"] == 3
    assert document["audit"]["semantic"]["wrong"] >= 32
    assert document["audit"]["by_namespace"][""]["exact"]["wrong"] == 0
    assert document["audit"]["excess_wrong"]["low"] > 0.5
    assert (await bench.status(QUESTION)).startswith("hit")
    head, body = await read(await bench.ask("valkey so"))
    assert (head.cache_status.forward, content(body)) == ("miss", "It is 4.")


async def test_what_caution_keeps_back_is_told_and_explained(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench(audit=ALL)
    await tightened(bench, caplog)
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "valkey so"}]})
    told = await bench.explain(body.encode())
    assert told.nearest
    near = [one.refused_by for one in told.nearest if one.refused_by != "distance"]
    assert near == ["caution", "rank"]
    head, _ = await read(await bench.ask("valkey so"))
    assert head.cache_status.shadow is not None
    assert head.cache_status.shadow.outcome.value == "HIT"


async def test_it_recovers_by_what_is_compared_while_kept_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench(audit=ALL)
    await tightened(bench, caplog)
    bench.upstream.answer = saying("It is 3.")
    for _ in range(1000):
        if bench.count("reprise_caution") == 2:
            break
        await hit(bench)
        for stored in (await bench.store.memory.scan("", 10)).entries:
            if stored.key.text != QUESTION:  # it would answer the same exactly
                await bench.store.memory.delete(stored.id)
    assert "audits found enough hits by meaning right" in caplog.text
    assert (await bench.status(SAME)).startswith("hit")  # near enough for that level


async def test_the_verifiers_doubt_is_halved_where_there_is_one() -> None:
    verifier = FakeVerifier()
    bench = Bench(verifier=verifier, audit=replace(ALL, least=0.9))
    assert bench.engine.audits.caution.least == 0.9
    bench.engine.audits._conclude(replace(bench.engine.audits._evidence, level=1))
    verifier.answer = lambda _: 0.94
    await hit(bench, QUESTION)
    assert await bench.status(SAME) == "fwd=miss"
    verifier.answer = lambda _: 0.96
    assert (await bench.status("valkey is it")).startswith("hit")


async def test_a_purge_forgets_the_pairs_and_those_under_way() -> None:
    bench = Bench(audit=ALL)
    bench.upstream.answer = saying("It is 3.", "It is 4.")
    await hit(bench, QUESTION)
    await hit(bench)
    free, wait = gate()
    bench.upstream.before = wait
    await hit(bench)
    assert len(bench.engine.pairs.all()) == 1
    await bench.engine.operations.purge(EVERYTHING)
    free.set()
    await settle()
    assert audited(bench, "semantic", "wrong") == 2
    assert bench.engine.pairs.all() == []


@pytest.mark.parametrize("mode", [Mode.SERVE, Mode.SHADOW])
async def test_a_hit_by_meaning_of_which_nothing_is_shown_is_kept_for_review(mode: Mode) -> None:
    verifier = FakeVerifier()
    verifier.answer = lambda _: 0.95
    bench = Bench(audit=ALL, mode=mode, verifier=verifier)
    bench.upstream.answer = saying("A store of keys.", "A cache that is quick.")
    await hit(bench, QUESTION)
    await hit(bench)
    await hit(bench, QUESTION)
    (pair,) = bench.engine.pairs.open()
    assert (pair.asked, pair.stored, pair.probability) == (SAME, QUESTION, 0.95)
    assert (pair.answer, pair.upstreams_answer) == ("A store of keys.", "A cache that is quick.")
    assert pair.is_served is (mode is Mode.SERVE)
    assert pair.distance > 0
    assert bench.engine.pairs.all() == []


async def test_what_was_shown_right_or_wrong_is_not_open() -> None:
    for answer in ("It is 3.", "It is 4."):
        bench = Bench(audit=ALL)
        bench.upstream.answer = saying("It is 3.", answer)
        await hit(bench, QUESTION)
        await hit(bench)
        assert audited(bench, "semantic", "open") == 0
        assert bench.engine.pairs.open() == []


async def end_of(bench: Bench, entry: str, how: str) -> None:
    if how == "time":
        bench.clock.advance(61)
    elif how == "removal":
        await bench.engine.operations.delete(entry)
    else:
        await bench.engine.operations.purge(Selector(model="other"))


async def test_an_open_pair_ends_with_its_entry_its_removal_or_a_purge() -> None:
    for end in ("time", "removal", "purge"):
        bench = Bench(audit=ALL, ttl=60)
        bench.upstream.answer = saying("A store of keys.", "A cache that is quick.")
        await hit(bench, QUESTION)
        await hit(bench)
        (pair,) = bench.engine.pairs.open()
        await end_of(bench, pair.entry, end)
        assert bench.engine.pairs.open() == []


async def test_a_pair_ends_with_its_entry_or_its_removal() -> None:
    for end in ("time", "removal"):
        bench = Bench(audit=ALL, ttl=60)
        bench.upstream.answer = saying("It is 3.", "It is 4.")
        await hit(bench, QUESTION)
        await hit(bench)
        (pair,) = bench.engine.pairs.all()
        await end_of(bench, pair.entry, end)
        assert bench.engine.pairs.all() == []
