"""With a real proxy, the commands and programs in the documents print the output shown below them.

The `console` blocks of a page are one shell session: `$ ` begins a command, what follows is what it
prints, and `...` stands for anything. A `toml` block is the file `policy.toml` beside them. A
`python` block is a program; the `text` block after it is what it prints.
"""

import asyncio
import doctest
import json
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from app.adapters import adapters_for, verifier_for
from app.core.ports import Verifier
from app.inference.local_embedder import LocalEmbedder
from app.main import create_app
from app.rules.key import Isolation
from app.settings import FixedSettings
from app.tools.memo import Lent
from tests.fakes import ManualClock
from tests.servers import proxy_of
from tests.valkey.server import valkey_search

ROOT = Path(__file__).parent.parent.parent
PAGES = {p.stem: p.read_text() for p in [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]}
WITHOUT_EXAMPLE = {"index", "clients"}
BASE = "http://127.0.0.1:8000"
TOKEN = "admin-token"
END = "-- end of a command --"

CONSOLE = re.compile(r"```console\n(.*?)```", re.DOTALL)
COMMAND = re.compile(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
PROGRAM = re.compile(r"```python\n(.*?)```\n\n```text\n(.*?)```", re.DOTALL)
RULES = re.compile(r"```toml\n(.*?)```", re.DOTALL)
EXPLANATION = re.compile(r"```sh\n(curl .*?)```\n\n```json\n(.*?)```", re.DOTALL)

DISTANCE = re.compile(r"(distance[=:] ?0\.04)\d\d")
DIGEST = re.compile(r"[0-9a-f]{12,64}|[0-9a-f]{4}…")


def coarse(text: str) -> str:
    """Return a text whose distances have fewer digits: the last ones depend on the processor."""
    return DISTANCE.sub(r"\1", text)


def agrees(printed: str, told: str) -> bool:
    """Return whether the printed text agrees with the text in a document."""
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    return doctest.OutputChecker().check_output(coarse(told), coarse(printed), options)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder to run commands in, whose `bin` holds the commands of this checkout."""
    (tmp_path / "bin").mkdir()
    for name, arguments in (("reprise", "-m app "), ("python", "")):
        command = tmp_path / "bin" / name
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments}"$@"\n')
        command.chmod(0o755)
    return tmp_path


@pytest.fixture(scope="module")
def verifier() -> Iterator[Verifier]:
    """Load the verifier once for all pages, since that takes two seconds."""
    verifier = verifier_for(FixedSettings(), LocalEmbedder.name)
    yield Lent(verifier)
    asyncio.run(verifier.aclose())


@asynccontextmanager
async def proxy_for(page: str, verifier: Verifier) -> AsyncIterator[str]:
    """Run a proxy as a page assumes it. Yield the URL that the page's examples should use."""
    async with AsyncExitStack() as stack:
        store = "memory://"
        if page == "valkey":
            store = (await stack.enter_async_context(valkey_search())).url
        settings = FixedSettings(
            upstream_url="simulated://",
            admin_token=SecretStr(TOKEN),
            store=store,
            isolation=Isolation.SHARED if page == "sharing" else Isolation.CREDENTIAL,
            api_keys=tuple(map(SecretStr, ("sk-ann", "sk-bob") if page == "deploying" else ())),
        )
        app = create_app(settings, adapters_for(settings, verifier=verifier, clock=ManualClock()))
        url, _ = await stack.enter_async_context(proxy_of(app))
        yield url.removesuffix("/v1")


async def output_of(*command: str, url: str, folder: Path) -> str:
    """Run a command against a proxy and return what it prints."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("REPRISE_")}
    process = await asyncio.create_subprocess_exec(
        *(argument.replace(BASE, url) for argument in command),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=folder,
        env={
            **ours,
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "REPRISE_ADMIN_TOKEN": TOKEN,
            "REPRISE_PORT": url.rpartition(":")[2],
        },
    )
    output, _ = await process.communicate()
    return output.decode()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("page", [p for p, text in PAGES.items() if CONSOLE.search(text)])
async def test_a_session_prints_what_the_page_says(
    page: str, folder: Path, verifier: Verifier
) -> None:
    commands = [c for block in CONSOLE.findall(PAGES[page]) for c in COMMAND.findall(block)]
    script = "\n".join(f"{command}\necho '{END}'" for command, _ in commands)
    for rules in RULES.findall(PAGES[page]):
        (folder / "policy.toml").write_text(rules)
    async with proxy_for(page, verifier) as url:
        output = await output_of("sh", "-c", script, url=url, folder=folder)
    printed = output.replace("\r", "").split(f"{END}\n")[:-1]
    for (command, told), got in zip(commands, printed, strict=True):
        assert agrees(got, told), f"{command}\n{got}"


@pytest.mark.parametrize("page", [p for p, text in PAGES.items() if PROGRAM.search(text)])
async def test_a_program_prints_what_the_page_says(
    page: str, folder: Path, verifier: Verifier
) -> None:
    for program, told in PROGRAM.findall(PAGES[page]):
        async with proxy_for(page, verifier) as url:
            got = await output_of(sys.executable, "-c", program, url=url, folder=folder)
        assert agrees(got, told), got


def without_digests(told: Any) -> Any:
    """Return a document with something else in place of all digests, and coarse distances."""
    if isinstance(told, dict):
        return {name: without_digests(value) for name, value in told.items()}
    if isinstance(told, list):
        return [without_digests(value) for value in told]
    if isinstance(told, float):
        return round(told, 1)
    return DIGEST.sub("…", coarse(told)) if isinstance(told, str) else told


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_the_explanation_is_that_of_the_page(folder: Path, verifier: Verifier) -> None:
    ((shell, told),) = EXPLANATION.findall(PAGES["explain"])
    async with (
        proxy_for("explain", verifier) as url,
        httpx.AsyncClient(headers={"authorization": "Bearer sk-ann"}) as client,
    ):
        for text, fields in (
            ("What is Valkey?", {}),
            ("What is not Valkey?", {}),
            ("Explain what Valkey is", {"temperature": 0.5}),
        ):
            body = {"model": "m", "messages": [{"role": "user", "content": text}], **fields}
            (await client.post(f"{url}/v1/chat/completions", json=body)).raise_for_status()
        got = await output_of("sh", "-c", shell, url=url, folder=folder)
    assert without_digests(json.loads(told)) == without_digests(json.loads(got))


def test_every_page_has_an_example_that_is_run() -> None:
    kinds = (CONSOLE, PROGRAM, EXPLANATION)
    without = {page for page, text in PAGES.items() if not any(kind.search(text) for kind in kinds)}
    assert without == WITHOUT_EXAMPLE
