"""The savings of hits equal a table that was computed by hand."""

import json
from dataclasses import replace
from typing import Any

import pytest

from app.core.cache_status import CacheStatus, Saved
from app.core.models import ClientRequest, Usage
from app.engine.findings import saved
from app.rules.headers import cache_headers
from app.upstream.prices import ListPrices, Rates
from tests.bench import Bench, read, settle
from tests.engine.test_audits import ALL
from tests.fakes import FakeResponse, completion

# Dollars for a million tokens.
PRICES = ListPrices(
    "http://upstream.test/v1",
    {"small": Rates(1, 2), "large": Rates(10, 30, cached=1)},
)

# model, tokens of input, output and from a prompt cache, seconds, hits; then by hand: dollars.
TABLE: list[tuple[str, int, int, int, float, int, float | None]] = [
    ("small", 1000, 500, 0, 1.5, 3, 3 * 0.002),
    ("large", 2000, 100, 1500, 4.25, 2, 2 * 0.0095),
    ("unheard-of", 700, 70, 0, 2.0, 4, None),
]


def answering(bench: Bench, usage: dict[str, Any] | None, seconds: float) -> None:
    """Let the upstream answer with `usage`, after `seconds`."""

    def answer(_: ClientRequest) -> FakeResponse:
        bench.clock.advance(seconds)
        document = completion("Well.")
        document["usage"] = usage
        return FakeResponse([json.dumps(document).encode()])

    bench.upstream.answer = answer


async def test_hits_save_what_their_own_answers_took() -> None:
    bench = Bench(prices=PRICES)
    for model, given, taken, cached, seconds, hits, _ in TABLE:
        details = {"cached_tokens": cached}
        usage = {"prompt_tokens": given, "completion_tokens": taken}
        answering(bench, {**usage, "prompt_tokens_details": details}, seconds)
        await read(await bench.ask(model=model))
        await settle()
        for number in range(hits):
            await read(await bench.ask("valkey is what" if number else "valkey what", model=model))
    told = (await bench.engine.findings.document())["savings"]
    for model, given, taken, _, seconds, hits, dollars in TABLE:
        assert told["models"][model] == {
            "hits": hits,
            "unpriced_hits": hits if dollars is None else 0,
            "input_tokens": hits * given,
            "output_tokens": hits * taken,
            "usd": dollars or 0,
            "seconds": hits * seconds,
        }
        metric = bench.count("reprise_saved_dollars_total", model=model)
        assert metric == (None if dollars is None else pytest.approx(dollars))
        assert bench.count("reprise_saved_seconds_total", model=model) == hits * seconds
    assert (told["hits"], told["unpriced_hits"]) == (9, 4)
    assert (told["input_tokens"], told["output_tokens"]) == (9800, 1980)
    assert (told["usd"], told["net_usd"], told["seconds"]) == (0.025, 0.025, 21.0)


async def test_what_audits_cost_is_taken_off() -> None:
    bench = Bench(prices=PRICES, audit=ALL)
    answering(bench, {"prompt_tokens": 1000, "completion_tokens": 500}, 1.0)
    await read(await bench.ask(model="small"))
    await settle()
    await read(await bench.ask(model="small"))
    await settle()
    told = (await bench.engine.findings.document())["savings"]
    cost = {"calls": 1, "unpriced": 0, "tokens": 1500, "usd": 0.002}
    assert told["spent"]["audit"] == cost
    assert (told["usd"], told["net_usd"]) == (0.002, 0)


async def test_an_audit_that_does_not_tell_its_tokens_is_said_to_have_no_price() -> None:
    bench = Bench(prices=PRICES, audit=ALL)
    answering(bench, None, 1.0)
    for _ in range(2):
        await read(await bench.ask(model="small"))
        await settle()
    told = (await bench.engine.findings.document())["savings"]
    assert told["spent"]["audit"] == {"calls": 1, "unpriced": 1, "tokens": 0, "usd": 0}


async def test_a_hit_says_what_it_saves() -> None:
    bench = Bench(prices=PRICES)
    answering(bench, {"prompt_tokens": 1000, "completion_tokens": 500}, 1.5)
    await read(await bench.ask(model="small"))
    await settle()
    head, _ = await read(await bench.ask(model="small"))
    told = dict(cache_headers(head.cache_status))
    assert told[b"x-cache-saved-tokens"] == b"1500"
    assert told[b"x-cache-saved-usd"] == b"0.002000"
    assert told[b"x-cache-saved-seconds"] == b"1.500"


@pytest.mark.parametrize(
    ("saved", "names"),
    [
        (Saved(), set()),
        (Saved(Usage(3, 2)), {b"x-cache-saved-tokens"}),
        (Saved(seconds=0.5), {b"x-cache-saved-seconds"}),
    ],
)
def test_a_header_is_left_out_where_nothing_is_known(saved: Saved, names: set[bytes]) -> None:
    status = replace(CacheStatus.miss("a"), saved=saved)
    told = {name for name, _ in cache_headers(status) if name.startswith(b"x-cache-saved")}
    assert told == names


async def test_a_stale_hit_saves_time_alone_and_a_miss_nothing() -> None:
    bench = Bench(prices=PRICES, ttl=60, stale_while_revalidate=600)
    answering(bench, {"prompt_tokens": 1000, "completion_tokens": 500}, 2.0)
    await read(await bench.ask(model="small"))
    await settle()
    bench.clock.advance(61)
    await read(await bench.ask(model="small"))
    told = (await bench.engine.findings.document())["savings"]
    assert (told["hits"], told["input_tokens"], told["usd"], told["seconds"]) == (1, 0, 0, 2)


async def test_a_store_that_fails_loses_nothing_and_delays_nobody() -> None:
    bench = Bench(prices=PRICES)
    answering(bench, {"prompt_tokens": 1000, "completion_tokens": 500}, 2.0)
    await read(await bench.ask(model="small"))
    await settle()
    await read(await bench.ask(model="small"))

    async def fail() -> None:
        raise OSError

    bench.store.before_totals = fail
    found = await bench.engine.ledger.sums()
    assert found.kept_in == "process"
    assert saved(found.amounts)["hits"] == 1
    bench.store.before_totals = None
    await read(await bench.ask(model="small"))
    assert saved((await bench.engine.ledger.sums()).amounts)["hits"] == 2
    assert await bench.store.memory.totals() == (await bench.engine.ledger.sums()).amounts


async def test_what_is_left_is_written_at_the_end() -> None:
    bench = Bench(prices=PRICES)
    answering(bench, None, 2.0)
    await read(await bench.ask())
    await settle()
    await read(await bench.ask())
    assert await bench.store.memory.totals() == {}
    await bench.aclose()
    assert (await bench.store.memory.totals())["saved.hits:m"] == 1
