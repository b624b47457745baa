"""If a client deletes a response at the upstream, the cache no longer serves it to anybody."""

import asyncio
from dataclasses import replace

import pytest

from app.core.models import CacheKey, ClientRequest, StoredResponse
from app.engine.deletions import Deletions
from app.rules.decisions import Store
from tests.bench import Bench, read, settle
from tests.fakes import FakeResponse


def entry(bench: Bench, name: str) -> StoredResponse:
    key = CacheKey("p", f"digest of {name}", None)
    return StoredResponse(key, "m", b"{}", bench.clock.now, 60.0, upstream_id=name)


@pytest.fixture
def bench() -> Bench:
    bench = Bench()
    bench.upstream.answer = lambda _: FakeResponse([b"{}"])
    return bench


@pytest.fixture
def deletions(bench: Bench) -> Deletions:
    return Deletions(
        bench.engine.forwarder, bench.engine.operations, lambda r: r.path.decode().strip("/")
    )


async def delete(deletions: Deletions, name: str) -> int:
    request = ClientRequest("DELETE", f"/{name}".encode(), b"", [])
    head, _ = await read(deletions.pass_through(request))
    return head.status_code


async def kept(bench: Bench) -> set[str]:
    page = await bench.store.memory.scan("", 100)
    return {stored.upstream_id for stored in page.entries}


async def test_what_another_process_has_stored_is_looked_for(
    bench: Bench, deletions: Deletions
) -> None:
    for name in ("a", "b", ""):
        await bench.store.memory.put(entry(bench, name), None)
    await delete(deletions, "a")
    assert await kept(bench) == {"b", ""}


async def test_what_this_process_has_stored_is_found_at_once(
    bench: Bench, deletions: Deletions
) -> None:
    for name in ("a", "b"):
        bench.lookup.store(Store(entry(bench, name), None))
    await delete(deletions, "a")
    assert await kept(bench) == {"b"}
    assert "scan" not in bench.store.calls


async def test_an_answer_that_has_taken_its_place_stays(bench: Bench, deletions: Deletions) -> None:
    old = entry(bench, "a")
    bench.lookup.store(Store(old, None))
    bench.lookup.store(Store(replace(old, upstream_id="b"), None))
    await delete(deletions, "a")
    assert await kept(bench) == {"b"}


async def test_a_deletion_that_fails_removes_nothing(bench: Bench, deletions: Deletions) -> None:
    bench.upstream.answer = lambda _: FakeResponse([], status_code=404)
    bench.lookup.store(Store(entry(bench, "a"), None))
    await settle()
    assert await delete(deletions, "a") == 404
    assert await kept(bench) == {"a"}


async def test_a_store_that_fails_costs_the_client_nothing_and_the_next_deletion_makes_up_for_it(
    bench: Bench, deletions: Deletions
) -> None:
    for name in ("a", "b"):
        await bench.store.memory.put(entry(bench, name), None)

    async def fail() -> None:
        raise OSError

    bench.store.before = fail
    assert await delete(deletions, "a") == 200
    assert await kept(bench) == {"a", "b"}
    bench.store.before = None
    await delete(deletions, "b")
    assert await kept(bench) == set()


async def test_many_at_once_are_looked_for_together(bench: Bench, deletions: Deletions) -> None:
    names = [f"n{number}" for number in range(20)]
    for name in names:
        await bench.store.memory.put(entry(bench, name), None)
    await asyncio.gather(*(delete(deletions, name) for name in names))
    assert await kept(bench) == set()
    assert bench.store.calls.count("scan") <= 2
