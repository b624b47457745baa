"""The upkeep of the generations while the list of them changes."""

import asyncio

from app.stores.valkey.client import Command, Reply
from app.stores.valkey.generations import Generations
from app.stores.valkey.keys import Keys
from app.stores.valkey.search import IndexOptions
from app.stores.valkey.upkeep import Upkeep


class Evicting:
    """A server that loses the list of two generations while it tells how full they are."""

    has_replicas = False

    def __init__(self) -> None:
        self.generations: Generations
        self.asked: list[Command] = []
        self.is_idle = asyncio.Event()

    async def call(self, *commands: Command) -> list[Reply]:
        self.asked += commands
        return [self._answer(command) for command in commands]

    def _answer(self, command: Command) -> Reply:
        match command:
            case ("INFO", "memory"):
                return b"maxmemory:0\r\n"
            case ("HMGET", _, *numbers):
                return [b"100"] * len(numbers)
            case ("FT.INFO", _):
                # As the next look-up is told: another proxy has made a list of what was left.
                self.generations.note(b"2", b"epoch")
                return [b"num_docs", 1]
            case ("EVAL", _, 1, _, _, 0):
                self.is_idle.set()  # the lease is given back
                return 1
            case ("EVAL", _, 1, _, before, _) if isinstance(before, str) and " " in before:
                return 0  # that is not the list any more
            case ("EVAL", *_):
                return 1
            case ("SCAN", *_):
                return [b"0", []]
        return [] if command[0] == "FT._LIST" else b"OK"

    async def aclose(self) -> None:
        pass


async def test_the_only_generation_left_is_not_retired() -> None:
    server, options = Evicting(), IndexOptions(max_inserts=1000)
    keys = Keys.of("model", 4)
    server.generations = generations = Generations(server, keys, 4, options)
    generations.note(b"2 1", b"epoch")
    upkeep = Upkeep(server, generations, options)
    upkeep.inserted(2, 1000)
    async with asyncio.timeout(5):
        await server.is_idle.wait()
    await upkeep.aclose()
    assert generations.numbers == (2,)
    dropped = [command[1] for command in server.asked if command[0] == "FT.DROPINDEX"]
    assert keys.index(2) not in dropped
    scanned = [command[3] for command in server.asked if command[0] == "SCAN"]
    assert scanned == [f"{keys.prefix(1)}*"]
