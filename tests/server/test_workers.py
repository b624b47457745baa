"""Several processes on one port, with one Valkey behind them."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.valkey.server import StandIn, stand_in

ROOT = Path(__file__).parent.parent.parent
TOKEN = "admin-token"


class Fleet:
    """A running `reprise serve --workers 2`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.url = ""

    async def read_until(self, text: str) -> str:
        assert self.process.stderr is not None
        async with asyncio.timeout(30):
            while text not in (line := (await self.process.stderr.readline()).decode()):
                assert line, "ended too early"
        return line

    def children(self) -> list[int]:
        """List the workers: children that have the listening socket."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        pids = [int(pid) for pid in path.read_text().split()]
        return [p for p in pids if b"spawn_main" in Path(f"/proc/{p}/cmdline").read_bytes()]

    async def ask(self, question: str) -> str:
        """Ask on a new connection, so that any worker may answer."""
        body = {"model": "m", "messages": [{"role": "user", "content": question}]}
        request = urllib.request.Request(
            f"{self.url}/chat/completions",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )

        def post() -> str:
            with urllib.request.urlopen(request, timeout=30) as response:
                return str(response.headers["x-cache"])

        return await asyncio.to_thread(post)

    async def stats(self) -> dict[str, Any]:
        """Return the figures of `/cache/stats`, from any worker."""
        url = self.url.replace("/v1", "/cache/stats")
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {TOKEN}"})

        def get() -> Any:
            with urllib.request.urlopen(request, timeout=30) as response:
                return json.loads(response.read())

        told: dict[str, Any] = await asyncio.to_thread(get)
        return told

    async def metric(self, line: str) -> float:
        """Return the value of a line of the metrics, from any worker; 0 if the line is missing."""

        def get() -> str:
            url = self.url.replace("/v1", "/metrics")
            with urllib.request.urlopen(url, timeout=30) as response:
                return str(response.read().decode())

        told = await asyncio.to_thread(get)
        found = re.search(f"^{re.escape(line)} (.*)$", told, re.MULTILINE)
        return float(found[1]) if found else 0.0


@asynccontextmanager
async def fleet_on(valkey: StandIn, **settings: str) -> AsyncIterator[Fleet]:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("REPRISE_")},
        "PYTHONPATH": str(ROOT),
        "REPRISE_UPSTREAM_URL": "simulated://",
        "REPRISE_STORE": valkey.url,
        "REPRISE_STORE_TIMEOUT": "5",
        "REPRISE_VERIFIER": "off",  # so that a start is quick
        **settings,
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app", "serve", "--port", "0", "--workers", "2"),
        env=environment,
        stderr=subprocess.PIPE,
    )
    fleet = Fleet(process)
    try:
        yield fleet
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.fixture
async def valkey() -> AsyncIterator[StandIn]:
    async with stand_in() as server:
        yield server


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks at processes in /proc")
async def test_workers_share_a_store_are_replaced_and_end_in_good_order(valkey: StandIn) -> None:
    async with fleet_on(valkey) as fleet:
        line = await fleet.read_until("listens on")
        fleet.url = line.split()[-1]
        assert await fleet.ask("What is Valkey?") == "MISS"
        assert {await fleet.ask("What is Valkey?") for _ in range(8)} == {"HIT"}
        before = fleet.children()
        assert len(before) == 2
        os.kill(before[0], signal.SIGKILL)
        told = await fleet.read_until("starting another one")
        assert re.search(r"a worker process ended with exit code -9", told)
        assert await fleet.ask("What is Valkey?") == "HIT"
        async with asyncio.timeout(10):
            while len(after := fleet.children()) != 2:
                await asyncio.sleep(0.05)
        assert before[1] in after
        fleet.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            assert await fleet.process.wait() == 0


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks at processes in /proc")
async def test_whichever_worker_is_asked_tells_what_all_have_counted(valkey: StandIn) -> None:
    name = 'reprise_requests_total{outcome="HIT",route="chat_completions",tier="exact"}'
    async with fleet_on(valkey, REPRISE_ADMIN_TOKEN=TOKEN) as fleet:
        fleet.url = (await fleet.read_until("listens on")).split()[-1]
        await fleet.ask("What is Valkey?")
        assert {await fleet.ask("What is Valkey?") for _ in range(20)} == {"HIT"}
        assert {await fleet.metric(name) for _ in range(8)} == {20.0}
        for told in [await fleet.stats() for _ in range(8)]:
            assert (told["workers"], told["counted_in"]) == (2, "workers")
            assert (told["requests"]["HIT"], told["requests"]["MISS"]) == (20, 1)
            assert told["hits"] == {"exact": 20, "semantic": 0}
        stored = 'reprise_entries{kind="chat_completion"}'
        assert {await fleet.metric(stored) for _ in range(8)} == {1.0}
        assert {await fleet.metric("reprise_inflight_bytes") for _ in range(4)} == {0.0}
        os.kill(fleet.children()[0], signal.SIGKILL)
        await fleet.read_until("starting another one")
        assert await fleet.metric(name) == 20.0


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks at processes in /proc")
async def test_workers_end_when_the_process_that_started_them_is_gone(valkey: StandIn) -> None:
    async with fleet_on(valkey) as fleet:
        fleet.url = (await fleet.read_until("listens on")).split()[-1]
        await fleet.ask("What is Valkey?")
        children = fleet.children()
        fleet.process.kill()
        async with asyncio.timeout(20):
            while any(map(alive, children)):
                await asyncio.sleep(0.05)


def alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


async def test_a_start_that_is_refused_is_not_tried_again(valkey: StandIn) -> None:
    store = {"REPRISE_STORE": "valkeys://localhost?ca=/nowhere"}
    async with fleet_on(valkey, **store) as fleet:
        line = await fleet.read_until("names a file that cannot be read")
        assert "REPRISE_STORE=valkeys://localhost?ca=/nowhere" in line
        async with asyncio.timeout(20):
            assert await fleet.process.wait() == 2
