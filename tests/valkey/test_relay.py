"""The real server behind the stand-in: transactions, permissions, order, and failures."""

import asyncio
from typing import Any

import pytest
from valkey.asyncio import Valkey
from valkey.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ConnectionError,  # noqa: A004
    NoPermissionError,
    ReadOnlyError,
    ResponseError,
    WatchError,
)

from tests.valkey.asking import CREATE, EAST, NEAR, Asking, in_both_protocols, words
from tests.valkey.server import StandIn, stand_in, valkey_search

LOOK = 'FT.SEARCH idx "*=>[KNN 1 @embedding $q]" {} NOCONTENT PARAMS 2 q <east> DIALECT 2'
FOREIGN = r"^The user does not have permission to access the key prefix$"


def as_user(server: StandIn) -> str:
    return server.url.replace("//", "//u:any@")


async def pipelined(client: Asking, *lines: str, transaction: bool) -> list[Any]:
    async with client.valkey.pipeline(transaction=transaction) as pipeline:
        for line in lines:
            pipeline.execute_command(*words(line))
        replies: list[Any] = await pipeline.execute(raise_on_error=False)
        return replies


@in_both_protocols
@pytest.mark.parametrize("transaction", [False, True])
async def test_a_pipeline_is_answered_in_order(client: Asking, transaction: bool) -> None:
    replies = await pipelined(
        client,
        "HSET cache:a embedding <east>",
        LOOK.format(""),
        "GET nosuch",
        "FT._LIST",
        "FT.INFO nosuch",
        "PING",
        transaction=transaction,
    )
    assert replies[:4] == [1, [1, b"cache:a"], None, [b"idx"]]
    assert str(replies[4]) == "Index with name 'nosuch' not found in database 0"
    assert replies[5] in (b"PONG", True)


@in_both_protocols
async def test_a_search_sees_what_was_sent_before_it_and_nothing_behind(client: Asking) -> None:
    lines = ("HSET cache:a embedding <east>", LOOK.format(""), "DEL cache:a", LOOK.format(""))
    for _ in range(20):
        replies = await pipelined(client, *lines, transaction=False)
        assert replies == [1, [1, b"cache:a"], 1, [0]]


async def test_a_write_is_seen_from_any_connection(server: StandIn, client: Asking) -> None:
    async with Valkey.from_url(server.url) as valkey:
        other = Asking(valkey)
        for index in range(50):
            await client.put(str(index))
            assert await other.names(
                1,
            ) == [str(index)]
            await client.send(f"DEL cache:{index}")
            assert await other.names(1) == []


@in_both_protocols
async def test_a_transaction_that_was_watched_changes_nothing(
    server: StandIn, client: Asking
) -> None:
    await client.put("a")
    async with client.valkey.pipeline() as pipeline:
        await pipeline.watch("cache:a")
        async with Valkey.from_url(server.url) as other:
            await Asking(other).put("a", NEAR)
        pipeline.multi()
        pipeline.execute_command(*words(LOOK.format("")))
        with pytest.raises(WatchError):
            await pipeline.execute()
    assert await client.names(1) == ["a"]


async def test_a_script_writes_into_the_index(client: Asking) -> None:
    script = "redis.call('HSET', KEYS[1], 'embedding', ARGV[1]); redis.call('EXPIRE', KEYS[1], 9)"
    await client.valkey.eval(script, 1, "cache:a", EAST)
    assert await client.names(1) == ["a"]


@in_both_protocols
async def test_what_is_not_searched_arrives_as_it_was_sent(client: Asking) -> None:
    blob = bytes(range(256)) * 40_000
    await client.valkey.set("blob", blob)
    assert await client.valkey.get("blob") == blob


@in_both_protocols
async def test_messages_arrive(client: Asking) -> None:
    async with client.valkey.pubsub() as channel:
        await channel.subscribe("news")
        assert (await channel.get_message(timeout=5))["type"] == "subscribe"
        await client.valkey.publish("news", "hello")
        assert (await channel.get_message(timeout=5))["data"] == b"hello"


async def test_who_has_not_said_who_they_are_may_do_nothing() -> None:
    async with stand_in(requirepass="secret") as server:
        async with Valkey.from_url(server.url) as valkey:
            await Asking(valkey).send(CREATE)
        async with Valkey.from_url(server.url.replace(":secret@", "")) as stranger:
            for line in ("PING", "FT._LIST"):
                with pytest.raises(AuthenticationError, match="Authentication required"):
                    await Asking(stranger).send(line)


@pytest.mark.parametrize(
    ("keys", "allowed"),
    [
        ("~*", {"FT.SEARCH", "FT.INFO", "FT.CREATE", "FT.DROPINDEX"}),
        ("~cach*", {"FT.SEARCH", "FT.INFO", "FT.CREATE", "FT.DROPINDEX"}),
        ("~cache:*", {"FT.SEARCH", "FT.INFO", "FT.CREATE", "FT.DROPINDEX"}),
        ("%R~cache:*", {"FT.SEARCH", "FT.INFO", "FT.CREATE"}),
        ("~cache:abc*", set()),
        ("~other:*", set()),
        ("", set()),
    ],
)
async def test_the_keys_of_an_index_must_be_ones_own(
    server: StandIn, client: Asking, keys: str, allowed: set[str]
) -> None:
    await client.send(f"ACL SETUSER u on nopass +@all {keys}")
    async with Valkey.from_url(as_user(server)) as valkey:
        user = Asking(valkey)
        create = CREATE.replace("idx", "other")
        for line in (LOOK.format(""), "FT.INFO idx", create, "FT.DROPINDEX idx"):
            if line.split()[0] in allowed:
                await user.send(line)
            else:
                with pytest.raises(ResponseError, match=FOREIGN):
                    await user.send(line)


@pytest.mark.parametrize(
    ("rules", "allowed"),
    [
        ("+@all", {"FT.SEARCH", "FT.CREATE", "FT._LIST"}),
        ("+@all -@search", set()),
        ("+@read", {"FT.SEARCH", "FT._LIST"}),
        ("+@all -@admin", {"FT.SEARCH", "FT.CREATE"}),
        ("+ft.search +hset", {"FT.SEARCH"}),
        ("+@search -FT.CREATE", {"FT.SEARCH", "FT._LIST"}),
    ],
)
async def test_commands_of_the_module_can_be_forbidden(
    server: StandIn, client: Asking, rules: str, allowed: set[str]
) -> None:
    await client.send(f"ACL SETUSER u on nopass ~* {rules}")
    async with Valkey.from_url(as_user(server)) as valkey:
        user = Asking(valkey)
        for line in (LOOK.format(""), CREATE.replace("idx", "other"), "FT._LIST"):
            name = line.split()[0]
            if name in allowed:
                await user.send(line)
            else:
                with pytest.raises(NoPermissionError, match=f"to run the '{name}' command$"):
                    await user.send(line)


async def test_a_slow_search_passes_off_a_part_for_the_whole(
    server: StandIn, client: Asking
) -> None:
    await client.put("a")
    await client.put("b", NEAR)
    server.switches.search_seconds = 0.02
    assert await client.names(1) == ["a"]
    assert await client.send(LOOK.format("TIMEOUT 1")) == [1, b"cache:b"]
    assert await client.send(LOOK.format("TIMEOUT 0 SOMESHARDS")) == [1, b"cache:b"]
    with pytest.raises(ResponseError, match=r"^Search operation cancelled due to timeout$"):
        await client.send(LOOK.format("TIMEOUT 1 ALLSHARDS"))


async def test_an_older_module_says_in_plain_words_that_it_was_too_slow() -> None:
    async with stand_in("1.0.3") as server, Valkey.from_url(server.url) as valkey:
        client = Asking(valkey)
        await client.send(CREATE)
        server.switches.search_seconds = 0.02
        assert await client.send(LOOK.format("TIMEOUT 1")) == b"Request timed out"


async def test_without_the_module_its_commands_are_unknown(server: StandIn, client: Asking) -> None:
    server.switches.loaded = False
    for line in (LOOK.format(""), "FT._LIST", CREATE):
        with pytest.raises(ResponseError, match=r"^unknown command 'FT"):
            await client.send(line)


async def test_a_server_may_refuse_everything_for_a_while(server: StandIn, client: Asking) -> None:
    server.switches.refusal = "LOADING Valkey is loading the dataset in memory"
    async with Valkey.from_url(server.url, retry_on_error=[]) as valkey:
        for line in ("GET a", "FT._LIST"):
            with pytest.raises(BusyLoadingError):
                await Asking(valkey).send(line)
    server.switches.refusal = ""
    assert await client.send("FT._LIST") == [b"idx"]


async def test_a_replica_searches_and_does_not_write(client: Asking) -> None:
    await client.put("a")
    await client.send("REPLICAOF 127.0.0.1 1")
    assert await client.names(1) == ["a"]
    for line in ("HSET cache:b n 1", "FT.DROPINDEX idx", CREATE.replace("idx", "other")):
        with pytest.raises(ReadOnlyError):
            await client.send(line)


async def test_a_server_that_hangs_answers_nothing_until_it_goes_on(
    server: StandIn, client: Asking
) -> None:
    await client.put("a")
    server.stop()
    try:
        asking = [asyncio.create_task(client.send(line)) for line in ("GET a", LOOK.format(""))]
        async with Valkey.from_url(server.url) as newcomer:
            asking.append(asyncio.create_task(newcomer.ping()))
            done, _ = await asyncio.wait(asking, timeout=0.1)
            assert not done
            server.resume()
            assert await asyncio.gather(*asking) == [None, [1, b"cache:a"], True]
    finally:
        server.resume()


async def test_killing_breaks_off_what_is_under_way(server: StandIn, client: Asking) -> None:
    server.switches.search_seconds = 60
    searching = asyncio.create_task(client.send(LOOK.format("")))
    done, _ = await asyncio.wait([searching], timeout=0.05)
    assert not done
    await server.kill()
    with pytest.raises(ConnectionError, match="closed by server"):
        await asyncio.wait_for(searching, 5)


async def test_a_client_may_leave_a_search_under_way(server: StandIn) -> None:
    async with Valkey.from_url(server.url) as valkey:
        client = Asking(valkey)
        await client.send(CREATE)
        server.switches.search_seconds = 60
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.send(LOOK.format("")), 0.05)
    async with asyncio.timeout(5):
        while server.connections:
            await asyncio.sleep(0.001)


async def test_connections_are_counted(server: StandIn) -> None:
    assert server.connections == 0
    async with Valkey.from_url(server.url) as client, Valkey.from_url(server.unix_url) as other:
        await client.ping()
        await other.ping()
        assert server.connections == 2
    while server.connections:
        await asyncio.sleep(0.001)


async def test_the_server_may_be_anywhere(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Valkey.from_url(server.url) as client:
        await client.set("a", "1")
        monkeypatch.setenv("VALKEY_URL", server.url)
        async with valkey_search() as elsewhere:
            assert elsewhere.url == server.url
            assert await client.get("a") is None
            with pytest.raises(pytest.skip.Exception):
                await elsewhere.kill()
            with pytest.raises(pytest.skip.Exception):
                elsewhere.switches.loaded = False
        with pytest.raises(pytest.skip.Exception):
            async with valkey_search(maxmemory="1mb"):
                raise AssertionError
