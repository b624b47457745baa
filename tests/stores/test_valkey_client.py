"""Connections to a Valkey, and to servers that are not suitable."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from valkey.asyncio import Valkey

from app.core.errors import Overloaded
from app.stores.valkey.client import Connections, Refused
from app.stores.valkey.url import Address, address_of
from tests.valkey.server import StandIn, stand_in

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
async def server() -> AsyncIterator[StandIn]:
    async with stand_in() as server:
        yield server


@asynccontextmanager
async def connections_to(
    address: Address | str, most: int = 2, seconds: float = 5.0
) -> AsyncIterator[Connections]:
    connections = Connections(
        address_of(address) if isinstance(address, str) else address, most, seconds
    )
    try:
        yield connections
    finally:
        await connections.aclose()


@asynccontextmanager
async def talking(serve: Serve) -> AsyncIterator[str]:
    """Run a server that replies as `serve` does, and yield its URL."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await serve(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    listener = await asyncio.start_server(serve_one, "127.0.0.1", 0)
    host, port = listener.sockets[0].getsockname()
    try:
        yield f"valkey://{host}:{port}"
    finally:
        listener.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_replies_come_in_order_refusals_among_them(server: StandIn) -> None:
    async with connections_to(server.url) as connections:
        first, refusal, last = await connections.call(("PING",), ("NONSENSE",), ("ECHO", b"\xff"))
    assert (first, last) == (b"PONG", b"\xff")
    assert isinstance(refusal, Refused)
    assert "unknown command" in str(refusal)


async def test_the_server_knows_our_name(server: StandIn) -> None:
    async with connections_to(server.url) as connections:
        (name,) = await connections.call(("CLIENT", "GETNAME"))
        assert name == b"reprise"


async def test_a_unix_socket_will_do(server: StandIn) -> None:
    async with connections_to(f"{server.unix_url}?db=3") as connections:
        (info,) = await connections.call(("CLIENT", "INFO"))
        assert b"db=3" in info


async def test_no_more_connections_are_opened_than_allowed(server: StandIn) -> None:
    async with connections_to(server.url, most=3) as connections:
        replies = await asyncio.gather(*(connections.call(("PING",)) for _ in range(50)))
        assert replies == [[b"PONG"]] * 50
        assert server.connections == 3


async def test_the_line_of_those_who_wait_is_bounded(server: StandIn) -> None:
    async with connections_to(server.url, most=1) as connections:
        calls = (connections.call(("PING",)) for _ in range(600))
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(outcome == [b"PONG"] for outcome in outcomes) == 1 + 512
    assert sum(isinstance(outcome, Overloaded) for outcome in outcomes) == 87


async def test_a_call_that_is_broken_off_leaves_no_reply_behind(server: StandIn) -> None:
    async with connections_to(server.url, most=1) as connections:
        for turns in range(12):
            call = asyncio.create_task(connections.call(("ECHO", "stale"), ("ECHO", "stale")))
            for _ in range(turns):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            assert await connections.call(("ECHO", "fresh")) == [b"fresh"]


async def test_a_server_that_hangs_costs_no_more_than_the_timeout(server: StandIn) -> None:
    async with connections_to(server.url, most=2, seconds=0.1) as connections:
        await connections.call(("PING",))
        server.stop()
        begin = asyncio.get_running_loop().time()
        calls = (connections.call(("ECHO", "old")) for _ in range(6))
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(outcome, TimeoutError) for outcome in outcomes)
        assert asyncio.get_running_loop().time() - begin < 0.3
        server.resume()
        assert await connections.call(("ECHO", "new")) == [b"new"]


async def test_a_server_that_comes_back_is_found_again(server: StandIn) -> None:
    async with connections_to(server.url, most=2) as connections:
        await connections.call(("PING",))
        await server.kill()
        with pytest.raises(Exception, match="Connect"):
            await connections.call(("PING",))
        await server.restart()
        assert await connections.call(("PING",)) == [b"PONG"]


async def test_connections_that_the_server_closed_meanwhile_are_not_used(
    server: StandIn,
) -> None:
    async with connections_to(server.url, most=4) as connections:
        await asyncio.gather(*(connections.call(("PING",)) for _ in range(4)))
        await server.restart()
        for _ in range(8):
            assert await connections.call(("PING",)) == [b"PONG"]


async def test_whoever_closes_leaves_no_connection(server: StandIn) -> None:
    async with connections_to(server.url, most=4) as connections:
        await asyncio.gather(*(connections.call(("PING",)) for _ in range(4)))
        async with Valkey.from_url(server.url) as by_hand:
            late = asyncio.create_task(connections.call(("BLPOP", "list", "0")))
            async with asyncio.timeout(5):
                while not (await by_hand.info("clients"))["blocked_clients"]:
                    await asyncio.sleep(0)
            await connections.aclose()
            await by_hand.rpush("list", "a")
            assert await late == [[b"list", b"a"]]
    async with asyncio.timeout(5):
        while server.connections:
            await asyncio.sleep(0.002)


async def test_a_password_is_needed_where_there_is_one() -> None:
    async with stand_in(requirepass="secret") as server:
        async with connections_to(server.url) as connections:
            assert await connections.call(("PING",)) == [b"PONG"]
        for wrong in ("", ":wrong@", "nobody:secret@"):
            url = server.url.replace(":secret@", wrong)
            async with connections_to(url) as connections:
                with pytest.raises(Exception, match=r"[Aa]uthentication|WRONGPASS|invalid"):
                    await connections.call(("PING",))


async def test_a_password_in_a_file_is_read_anew_for_each_connection(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("secret\n")
    async with stand_in(requirepass="secret") as server:
        named = server.url.replace(":secret@", "") + f"?password_file={file}"
        async with connections_to(named, most=1) as connections:
            assert await connections.call(("PING",)) == [b"PONG"]
            await connections.call(("CONFIG", "SET", "requirepass", "newer"))
            file.write_text("newer")
            # What is connected stays so; what connects says the new one.
            assert await connections.call(("PING",)) == [b"PONG"]
            kill = ("CLIENT", "KILL", "USER", "default", "SKIPME", "no")
            await asyncio.gather(connections.call(kill), return_exceptions=True)
            while server.connections:
                await asyncio.sleep(0.002)
            assert await connections.call(("PING",)) == [b"PONG"]


def test_a_password_file_that_cannot_be_read_is_noticed_at_once() -> None:
    with pytest.raises(OSError, match=r"No such file"):
        Connections(address_of("valkey://a?password_file=/nowhere/password"), 1, 1.0)


async def test_a_user_who_may_not_say_its_name_is_served() -> None:
    async with stand_in() as server:
        async with connections_to(server.url) as connections:
            rules = ("on", ">pw", "~*", "+@all", "-client|setname")
            await connections.call(("ACL", "SETUSER", "u", *rules))
        url = server.url.replace("//", "//u:pw@")
        async with connections_to(url) as connections:
            assert await connections.call(("PING",)) == [b"PONG"]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"+OK\r\n*1\r\n$999999999999999999999\r\n",
        b"$5\r\nab",
        b"\x00" * 100_000,
        b"",
    ],
)
async def test_a_server_that_talks_nonsense_is_an_error_in_time(answer: bytes) -> None:
    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(answer)
        if answer:
            await reader.read()

    async with talking(nonsense) as url, connections_to(url, seconds=0.3) as connections:
        for _ in range(3):
            with pytest.raises(Exception, match=r"|."):
                await connections.call(("GET", "a"), ("GET", "b"))


async def test_what_a_server_says_unasked_is_no_answer() -> None:
    async def talkative(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            name = b"+OK\r\n" if b"SETNAME" in data else b""
            writer.write(name + b"+asked\r\n+unasked\r\n")

    async with talking(talkative) as url, connections_to(url, most=1) as connections:
        for _ in range(3):
            assert await connections.call(("GET", "a")) == [b"asked"]


async def test_loading_is_an_error(server: StandIn) -> None:
    server.switches.refusal = "LOADING Valkey is loading the dataset in memory"
    async with connections_to(server.url) as connections:
        with pytest.raises(Exception, match="loading"):
            await connections.call(("GET", "a"))
        server.switches.refusal = ""
        assert await connections.call(("GET", "a")) == [None]


async def test_tls_checks_the_certificate_and_the_name(
    certified: tuple[ssl.SSLContext, Path],
) -> None:
    context, ca = certified
    async with stand_in(tls=context) as server:
        named = server.url.replace("127.0.0.1", "localhost")
        async with connections_to(f"{named}?ca={ca}") as connections:
            assert await connections.call(("PING",)) == [b"PONG"]
        for url in (named, f"{server.url}?ca={ca}"):
            async with connections_to(url) as connections:
                with pytest.raises(Exception, match="CERTIFICATE_VERIFY_FAILED"):
                    await connections.call(("PING",))


def test_a_ca_that_cannot_be_read_is_noticed_at_once() -> None:
    with pytest.raises(OSError, match=r"No such file"):
        Connections(address_of("valkeys://a?ca=/nowhere/ca.pem"), 1, 1.0)
