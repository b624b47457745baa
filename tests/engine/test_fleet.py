"""Which proxy of a fleet asks the upstream."""

import asyncio
from contextlib import aclosing

import pytest

from app.core.metrics import Metrics
from app.core.models import Header
from app.engine.fleet import Fleet, Lead
from tests.bench import Bench, gate, settle
from tests.fakes import FakeLeases, FakeResponse, hang

WAIT = 60.0


class Stored:
    """The entries in the store that the proxies share."""

    def __init__(self) -> None:
        self.answer: str | None = None
        self.write: asyncio.Event | None = None

    async def look(self) -> str | None:
        return self.answer

    async def written(self) -> None:
        if self.write is not None:
            await self.write.wait()


class Proxies:
    """A fleet, and what each of its proxies has done: `asked` or `found`."""

    def __init__(self, wait: float = WAIT, leases: FakeLeases | None = None) -> None:
        self.leases = leases or FakeLeases()
        self.stored = Stored()
        self.opened = asyncio.Event()
        self.asking = 0
        self.wait = wait
        self.fleets: list[Fleet] = []

    async def ask(self, outcome: str | None = "answer") -> str:
        fleet = Fleet(self.leases, self.wait, Metrics())
        self.fleets.append(fleet)
        async with fleet.lead("a", self.stored.look, self.stored.written) as lead:
            if lead.found:
                return f"found {lead.found}"
            self.asking += 1
            await self.opened.wait()
            self.stored.answer = outcome
            return "asked"

    async def start(self, count: int, outcome: str | None = "answer") -> list[asyncio.Task[str]]:
        tasks = [asyncio.create_task(self.ask(outcome)) for _ in range(count)]
        await settle()
        return tasks


async def test_one_proxy_asks_and_the_others_find_its_answer() -> None:
    proxies = Proxies()
    tasks = await proxies.start(5)
    assert proxies.asking == 1
    proxies.opened.set()
    results = [await task for task in tasks]
    assert sorted(results) == ["asked", *["found answer"] * 4]
    await settle()
    assert not proxies.leases.holders


async def test_without_leases_everyone_asks() -> None:
    stored = Stored()
    fleet = Fleet(None, 0.0, Metrics())
    async with aclosing(fleet), fleet.lead("a", stored.look, stored.written) as lead:
        assert lead.found is None


async def test_nobody_waits_for_longer_than_was_said() -> None:
    proxies = Proxies(wait=0.05)
    tasks = await proxies.start(3)
    async with asyncio.timeout(5):
        while proxies.asking < 3:
            await asyncio.sleep(0)
    proxies.opened.set()
    assert [await task for task in tasks] == ["asked"] * 3


async def test_when_a_lease_runs_out_one_takes_it_and_nobody_waits_for_a_second_one() -> None:
    proxies = Proxies()
    tasks = await proxies.start(3)
    proxies.leases.holders.clear()  # its holder was killed
    async with asyncio.timeout(5):
        while proxies.asking < 3:
            await asyncio.sleep(0)
    for task in tasks:
        task.cancel()


async def test_after_an_answer_that_was_not_stored_the_others_ask_at_once() -> None:
    proxies = Proxies()
    (leader,) = await proxies.start(1, None)
    others = await proxies.start(3, None)
    proxies.opened.set()
    assert await leader == "asked"
    async with asyncio.timeout(5):
        assert [await other for other in others] == ["asked"] * 3


async def test_a_lease_is_given_back_after_the_answer_is_written() -> None:
    proxies = Proxies()
    proxies.stored.write = asyncio.Event()
    proxies.opened.set()
    assert await (await proxies.start(1))[0] == "asked"
    await settle()
    assert proxies.leases.holders
    proxies.stored.write.set()
    await proxies.fleets[0].aclose()
    assert not proxies.leases.holders
    assert proxies.leases.calls[-1] == "aclose"


async def test_a_request_that_fails_gives_its_lease_back() -> None:
    leases, stored = FakeLeases(), Stored()
    fleet = Fleet(leases, WAIT, Metrics())

    async def fail() -> None:
        async with fleet.lead("a", stored.look, stored.written):
            raise OSError

    with pytest.raises(OSError):  # noqa: PT011 - it has no text
        await fail()
    await settle()
    assert leases.calls == ["take", "release"]


async def refuse() -> None:
    raise OSError


@pytest.mark.parametrize("before", [refuse, hang])
async def test_where_the_server_fails_everyone_asks(before: object) -> None:
    leases = FakeLeases()
    leases.before = before  # type: ignore[assignment]
    proxies = Proxies(leases=leases)
    proxies.opened.set()
    async with asyncio.timeout(5):
        assert [await task for task in await proxies.start(3, None)] == ["asked"] * 3


async def test_a_lease_is_renewed_while_there_are_bytes_until_it_is_anothers() -> None:
    leases, stored = FakeLeases(), Stored()
    fleet = Fleet(leases, 0.001, Metrics())
    response = FakeResponse([b"a"] * 6)

    async def pause(index: int) -> None:
        if index == 3:
            leases.holders["a"] = "successor"
        await asyncio.sleep(0.002)

    response.gate = pause
    async with fleet.lead("a", stored.look, stored.written) as lead:
        assert b"".join([piece async for piece in lead.watch(response)]) == b"a" * 6
    await fleet.aclose()
    assert 2 <= leases.calls.count("renew") <= 4
    assert "release" not in leases.calls
    assert leases.holders == {"a": "successor"}


async def test_a_place_without_a_lease_changes_nothing() -> None:
    lead: Lead[str] = Lead()
    response = FakeResponse([b"a", b"b"])
    assert [piece async for piece in lead.watch(response)] == [b"a", b"b"]


async def test_another_proxys_answer_with_other_tags_leaves_them_to_the_next_one() -> None:
    leases = FakeLeases()
    ours, other = Bench(leases=leases), Bench(leases=leases)
    ours.store.memory = other.store.memory
    held = gate()
    other.upstream.before = held[1]
    theirs = asyncio.create_task(other.status("valkey what", (b"x-cache-tags", b"a")))
    await settle()
    waiting = asyncio.create_task(ours.status("valkey what", (b"x-cache-tags", b"b")))
    await settle()
    held[0].set()
    async with asyncio.timeout(5):
        assert [await theirs, await waiting] == ["fwd=miss", "fwd=miss"]
    await settle()
    (stored,) = (await ours.store.memory.scan("", 2)).entries
    assert stored.tagging.tags == {"a", "b"}


@pytest.mark.parametrize("header", [(b"x-cache-ttl", b"0"), (b"cache-control", b"no-cache")])
async def test_nobody_waits_for_an_answer_that_is_not_to_be_found(header: Header) -> None:
    leases = FakeLeases()
    assert (await Bench(leases=leases).status("valkey what", header)).startswith("fwd=")
    assert leases.calls == []
