"""The processes of the lab: a client's script, and the proxy as its users run it."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.clients.catalog import Client
from tests.clients.environments import FOLDER, ROOT

ADMIN_TOKEN = "lab"
_PATIENCE_S = 120

# Turns off clients' telemetry, and their downloads of tables.
_QUIET = {
    "ANONYMIZED_TELEMETRY": "false",
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_TRACING_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "HAYSTACK_TELEMETRY_ENABLED": "False",
    "LANGSMITH_TRACING": "false",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "OTEL_SDK_DISABLED": "true",
    "PYTHONWARNINGS": "ignore",
}


class Script:
    """A client's script, which waits for acts to perform."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def act(self, act: str, question: str) -> dict[str, Any]:
        """Return the result of an act: `value`, `error`, or `absent` if the script lacks it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(
                json.dumps({"act": act, "question": question}).encode() + b"\n"
            )
            await self._process.stdin.drain()
            line = await asyncio.wait_for(self._process.stdout.readline(), _PATIENCE_S)
        except TimeoutError:
            self._process.kill()
            return _failed("Timeout", f"nothing for {_PATIENCE_S} seconds")
        except ConnectionError:
            line = b""
        if not line:
            return _failed("Ended", "the script has ended")
        told: dict[str, Any] = json.loads(line)
        return told


def _failed(kind: str, message: str) -> dict[str, Any]:
    return {"error": {"type": kind, "status": None, "message": message}}


@asynccontextmanager
async def script(command: list[str], url: str, client: Client) -> AsyncIterator[Script]:
    """Run a client's script against a base URL; what it prints goes to a log of its own."""
    name = client.environment
    home = FOLDER / "homes" / name
    home.mkdir(parents=True, exist_ok=True)
    environment = {
        **_QUIET,
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "BASE_URL": url,
        "API_KEY": f"sk-lab-{name}",
        "API": client.api,
    }
    with (FOLDER / f"{client.name}.err").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *command,
            env=environment,
            cwd=home,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            limit=2**20,
        )
        try:
            yield Script(process)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


@asynccontextmanager
async def proxy(upstream_url: str, folder: Path, log: list[str]) -> AsyncIterator[str]:
    """Run `python -m app serve` before an upstream and yield its base URL; `log` gets its lines."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "REPRISE_UPSTREAM_URL": upstream_url,
        "REPRISE_ADMIN_TOKEN": ADMIN_TOKEN,
        "REPRISE_MAX_ERROR_RATE": "0.05",
        # Generous timeouts: these tests judge results, not the speed of a busy machine.
        "REPRISE_STORE_TIMEOUT": "30",
        "REPRISE_VERIFIER_TIMEOUT": "30",
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app", "serve", "--port", "0"),
        env=environment,
        cwd=folder,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        while not log or "listens on" not in log[-1]:
            log.append((await process.stderr.readline()).decode().rstrip())
            assert log[-1], f"the proxy ended before it listened: {log}"
        reading = asyncio.ensure_future(_read(process.stderr, log))
        yield log[-1].split()[-1]
    finally:
        process.kill()
        await process.wait()
    await reading


async def _read(lines: asyncio.StreamReader, log: list[str]) -> None:
    log += [line.decode().rstrip() async for line in lines]
