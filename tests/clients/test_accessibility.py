"""axe-core finds nothing serious on any view of the dashboard, light or dark, wide or narrow."""

import json
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.behaviour.test_audits import Saying
from tests.browser import CHROMIUM, Page, browser_page, log_in
from tests.clients.environments import FOLDER
from tests.servers import Setup

TOKEN = "admin-token"
SERIOUS = {"serious", "critical"}
AXE = FOLDER / "axe-core" / "node_modules" / "axe-core" / "axe.min.js"
SHAPES = ((1280, 800, "light"), (1280, 800, "dark"), (390, 844, "light"), (390, 844, "dark"))


def axe() -> str:
    """Return the source code of axe-core. The first call installs it."""
    if not AXE.exists():
        folder = FOLDER / "axe-core"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text('{"private": true}')
        npm = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]
        subprocess.run([*npm, "axe-core"], cwd=folder, check=True, timeout=300)
    return AXE.read_text()


async def violations(page: Page) -> list[str]:
    """Return the serious violations that axe-core finds in each size and colour scheme."""
    found: list[str] = []
    for shape in SHAPES:
        await page.look_like(*shape)
        told: list[dict[str, Any]] = json.loads(
            await page.run("axe.run().then(({violations}) => JSON.stringify(violations))")
        )
        found += [
            f"{rule['id']} {shape}: {[node['html'] for node in rule['nodes']]}"
            for rule in told
            if rule["impact"] in SERIOUS
        ]
    return found


@pytest.mark.clients
@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")
@pytest.mark.timeout(300)
async def test_the_dashboard_has_no_serious_defect(tmp_path: Path) -> None:
    source = axe()
    setup = Setup(admin_token=TOKEN, verifier="on", audit_rate=1.0, upstream_api_key="sk")
    setup.upstream.handler = Saying("A store of keys.", "A cache that is quick.")
    setup.verifier.answer = lambda _: 0.999
    async with (
        setup.run() as url,
        httpx.AsyncClient(base_url=url) as client,
        browser_page(tmp_path) as page,
    ):
        entry = ""
        for text in ("valkey what", "valkey is what", "valkey what"):  # served, and compared
            body = {"model": "m", "messages": [{"role": "user", "content": text}]}
            entry = (await client.post("/chat/completions", json=body)).headers["x-cache-entry"]
        root = f"{url.removesuffix('/v1')}/dashboard"
        await page.go_to(root)
        await page.until("!document.getElementById('log-in').hidden")
        await page.run(source)
        found = {"log-in": await violations(page)}
        await log_in(page, root, TOKEN)
        await page.run(source)
        for view, ready in (
            ("overview", "[data-figure=mode]"),
            ("entries", ".entries li"),
            (f"entry/{entry}", "#answered"),
            ("review", ".pair dl"),
            ("playground", "h1"),
        ):
            await page.run(f"location.hash = '{view}'")
            await page.text(f"#view {ready}")
            found[view] = await violations(page)
        await page.fill("#model", "m")
        await page.fill("#question", "valkey or what")
        await page.run("document.getElementById('question').form.requestSubmit()")
        await page.text("#decision")
        found["explained"] = await violations(page)
    told = "\n".join(f"{view}: {one}" for view, many in found.items() for one in many)
    assert not told, told
