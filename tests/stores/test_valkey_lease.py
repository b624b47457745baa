"""Leases in a real Valkey."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing

import pytest

from app.stores.valkey.client import Connections
from app.stores.valkey.lease import ValkeyLeases
from app.stores.valkey.url import address_of
from tests.stores.valkey_fleet import KEYS, Fleet, fleet_on


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    async with fleet_on() as fleet:
        yield fleet


@pytest.fixture
async def leases(fleet: Fleet) -> AsyncIterator[ValkeyLeases]:
    async with AsyncExitStack() as stack:
        connections = Connections(address_of(fleet.server.url), 2, 5.0)
        yield await stack.enter_async_context(aclosing(ValkeyLeases(connections, KEYS)))


async def test_one_of_many_gets_a_lease_and_all_learn_who(leases: ValkeyLeases) -> None:
    tokens = [f"t{number}" for number in range(10)]
    holders = await asyncio.gather(*(leases.take("a", token, 60.0) for token in tokens))
    assert len(set(holders)) == 1
    assert holders[0] in tokens
    assert await leases.take("b", "other", 60.0) == "other"


async def test_a_lease_that_is_given_back_is_free(leases: ValkeyLeases, fleet: Fleet) -> None:
    await leases.take("a", "one", 60.0)
    await leases.release("a", "one")
    assert await leases.take("a", "other", 60.0) == "other"
    assert 0 < await fleet.by_hand.pttl(KEYS.flight("a")) <= 60_000


async def test_a_lease_runs_out_unless_it_is_renewed(leases: ValkeyLeases, fleet: Fleet) -> None:
    await leases.take("a", "one", 0.05)
    await leases.take("b", "one", 0.05)
    assert await leases.renew("b", "one", 60.0)
    async with asyncio.timeout(5):
        while await leases.take("a", "other", 60.0) != "other":
            await asyncio.sleep(0.005)
    assert await leases.take("b", "other", 60.0) == "one"
    assert await fleet.by_hand.pttl(KEYS.flight("b")) > 1000


async def test_a_late_holder_does_not_touch_its_successors_lease(leases: ValkeyLeases) -> None:
    await leases.take("a", "successor", 60.0)
    assert not await leases.renew("a", "late", 600.0)
    await leases.release("a", "late")
    assert await leases.take("a", "third", 60.0) == "successor"
    assert not await leases.renew("nothing", "late", 60.0)


async def test_a_lease_is_no_entry(leases: ValkeyLeases, fleet: Fleet) -> None:
    store = await fleet.store()
    await leases.take("a", "one", 60.0)
    assert (await store.count()).answers == 0
    assert (await store.scan("", 10)).entries == []
    assert await store.purge() == 0
