"""The dashboard in a real browser: its contents, its actions, and its use by keyboard."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.behaviour.test_audits import Saying
from tests.browser import CHROMIUM, Page, browser_page, log_in
from tests.fakes import completion
from tests.servers import Exchange, Setup, UpstreamApp, upstream_of

TOKEN = "admin-token"
ADMIN = {"Authorization": f"Bearer {TOKEN}"}
HOSTILE = "valkey <script>alert(1)</script><img src=x onerror=alert(2)>"
ANSWER = (
    "</pre><svg onload=alert(3)><a href='javascript:alert(4)'>x</a><style>*{display:none}</style>"
)
FIGURES = """Object.fromEntries([...document.querySelectorAll("[data-figure]")]
  .map((one) => [one.dataset.figure, one.textContent]))"""

CAPTIONS = "[...document.querySelectorAll('caption')].map((one) => one.textContent)"
EXPORTED = """(() => {
  const made = URL.createObjectURL;
  return new Promise((resolve) => {
    URL.createObjectURL = (blob) => (resolve(blob.text()), made(blob));
    document.getElementById("export").click();
  });
})()"""

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium"),
    pytest.mark.timeout(180),
]


ATTACK = """<!doctype html><title>x</title><iframe></iframe><script>
async function attack(root, entry) {
  document.querySelector("iframe").src = `${root}/dashboard`;
  const body = JSON.stringify({id: entry, correct: false});
  const calling = (path, more) =>
    fetch(`${root}/${path}`, {credentials: "include", ...more}).catch(() => null);
  for (const path of ["cache/feedback", "dashboard/api/feedback"])
    for (const mode of ["no-cors", "cors"])
      await calling(path, {method: "POST", mode, body});
  return (await calling("dashboard/api/session")) === null;
}
</script>"""


async def answer(exchange: Exchange) -> None:
    await exchange.read()
    await exchange.answer(completion(ANSWER))


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    rules = tmp_path / "policy.toml"
    rules.write_text('[[rule]]\nname = "careful"\nmodel = "gpt-*"\nttl = 60\n')
    setup = Setup(admin_token=TOKEN, verifier="on", policy=str(rules))
    setup.upstream.handler = answer
    return setup


@pytest.fixture
async def client(setup: Setup) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the proxy's root."""
    async with setup.run() as url, httpx.AsyncClient() as client:
        client.base_url = httpx.URL(url.removesuffix("/v1"))
        yield client


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[Page]:
    """A page of a browser. The test fails if the page has complaints."""
    async with browser_page(tmp_path) as page:
        yield page
        refused_session = [told for told in page.complaints if "401 (Unauthorized)" in told]
        assert page.complaints == refused_session


async def ask(client: httpx.AsyncClient, text: str) -> str:
    body = {"model": "m", "messages": [{"role": "user", "content": text}]}
    response = await client.post("/v1/chat/completions", json=body)
    assert response.is_success
    return str(response.headers["x-cache-entry"])


async def test_its_numbers_are_those_of_the_stats(page: Page, client: httpx.AsyncClient) -> None:
    for text in ("valkey what", "valkey what", "valkey is what", "pasta how"):
        await ask(client, text)
    await log_in(page, f"{client.base_url}/dashboard", TOKEN)
    await page.until("document.querySelector('[data-figure=\"requests.HIT\"]')")
    shown = await page.run(FIGURES)
    stats = (await client.get("/cache/stats", headers=ADMIN)).json()
    assert shown["requests"] == str(sum(stats["requests"].values())) == "4"
    assert shown["requests.HIT"] == str(stats["requests"]["HIT"]) == "2"
    assert shown["hit-ratio"] == "50.0 %"
    assert shown["entries"] == str(sum(stats["entries"].values())) == "2"
    assert shown["mode"] == stats["in_force"]["mode"]
    assert shown["dial"] == str(stats["in_force"]["max_error_rate"])
    for tier in ("exact", "semantic"):
        assert shown[f"outcome.{tier}"] == str(stats["hits"][tier]) == "1"
    for outcome in ("STALE", "MISS", "PARTIAL", "BYPASS"):
        assert shown[f"outcome.{outcome.lower()}"] == str(stats["requests"][outcome])
    assert shown["workers"] == str(stats["workers"]) == "1"
    text = await page.run("document.body.textContent")
    assert "model gpt-*: ttl 60" in text
    assert "of the worker that has answered" not in text
    for part, count in stats["failures"].items():
        assert shown[f"failures.{part}"] == str(count)

    await ask(client, "tea when")
    await page.until("document.querySelector('[data-figure=\"requests\"]').textContent === '5'")


async def test_of_several_workers_it_tells_whose_the_figures_are(page: Page) -> None:
    setup = Setup(admin_token=TOKEN, workers=2)
    async with setup.run() as url, httpx.AsyncClient() as client:
        client.base_url = httpx.URL(url.removesuffix("/v1"))
        await ask(client, "valkey what")
        await log_in(page, f"{client.base_url}/dashboard", TOKEN)
        assert await page.text("[data-figure=workers]") == "2"
        captions = await page.run(CAPTIONS)
    assert captions[0] == "of the worker that has answered, since the start"
    assert captions[1].startswith("of the worker that has answered: the latest thousand")


async def test_a_hostile_question_and_answer_stay_text_and_feedback_removes(
    page: Page, client: httpx.AsyncClient
) -> None:
    entry = await ask(client, HOSTILE)
    await log_in(page, f"{client.base_url}/dashboard#entries", TOKEN)
    link = f'a[href="#entry/{entry}"]'
    assert await page.text(link) == HOSTILE
    await page.click(link)
    assert await page.text("#question") == HOSTILE
    assert await page.text("#answer") == ANSWER
    made = "#view script, #view img, #view style, #answer *, #question *"
    assert await page.run(f"document.querySelectorAll({json.dumps(made)}).length") == 0

    await page.click("#wrong")
    await page.text("#right")
    await page.click("#wrong")
    await page.until("location.hash === '#entries'")
    gone = await client.get(f"/cache/entries/{entry}", headers=ADMIN)
    assert gone.status_code == 404
    assert HOSTILE not in await page.run("location.href + JSON.stringify({...localStorage})")


async def test_an_entry_tells_whom_it_answered(
    page: Page, client: httpx.AsyncClient, setup: Setup
) -> None:
    setup.verifier.answer = lambda _: 0.999
    entry = await ask(client, "valkey what")
    for text in ("valkey what", "valkey is what", "valkey is <b>what</b>"):
        assert await ask(client, text) == entry
    await log_in(page, f"{client.base_url}/dashboard#entry/{entry}", TOKEN)
    told = await page.text("#answered li")
    assert told.startswith("valkey is <b>what</b>")
    assert "probability 0.9990" in told
    told = await page.run("document.getElementById('answered').parentElement.textContent")
    assert "Hits: 1 exact, 2 by meaning" in told
    assert "in this process, since it has started" in told


async def test_what_is_deleted_can_be_had_back_for_a_while(
    page: Page, client: httpx.AsyncClient
) -> None:
    entry = await ask(client, "valkey what")
    await log_in(page, f"{client.base_url}/dashboard#entry/{entry}", TOKEN)
    await page.click("#delete")
    await page.click("#messages button")
    assert "stays" in await page.text("#messages p")
    await page.click(f'a[href="#entry/{entry}"]')
    await page.click("#delete")
    await page.until("document.getElementById('messages').textContent.includes('is deleted')")
    assert (await client.get(f"/cache/entries/{entry}", headers=ADMIN)).status_code == 404


async def test_the_playground_tells_what_another_dial_would_do(
    page: Page, client: httpx.AsyncClient, setup: Setup
) -> None:
    setup.verifier.answer = lambda _: 0.7
    entry = await ask(client, "valkey what")
    await log_in(page, f"{client.base_url}/dashboard#playground", TOKEN)
    await page.text("#view h1")
    await page.fill("#question", "valkey is what")
    await page.run("document.getElementById('model').select()")
    await page.call("Input.insertText", text="m")
    await page.press("Enter")
    assert await page.text("#decision") == "Miss: the upstream answers."
    assert "the verifier gives too low" in await page.text(f'[data-entry="{entry}"]')
    assert "none of them would answer" in await page.text("#what-if")
    await page.run("""(() => {
      const dial = document.getElementById("dial");
      dial.value = dial.max;
      dial.dispatchEvent(new Event("input"));
    })()""")
    assert "“valkey what” would answer" in await page.text("#what-if")


async def test_it_is_used_by_keyboard_alone(
    page: Page, client: httpx.AsyncClient, setup: Setup
) -> None:
    await ask(client, "valkey what")
    setup.verifier.answer = lambda text: 0.5 if text == "valkey what" else 0.1
    for text in ("valkey is what", "valkey or what"):
        await ask(client, text)
    await log_in(page, f"{client.base_url}/dashboard", TOKEN)
    assert await page.run("document.activeElement.textContent") == "Overview"
    await page.go_to("about:blank")
    await page.go_to(f"{client.base_url}/dashboard")
    await page.until("!document.querySelector('nav').hidden")
    await page.press("Tab")
    assert await page.run("document.activeElement.className") == "skip"
    await page.tab_to('a[href="#review"]')
    await page.press("Enter")
    await page.text("#stored")
    await page.tab_to(".pair")
    await page.press("s")
    await page.until("document.getElementById('progress').textContent.startsWith('1 pair left, 1')")
    await page.press("u")
    await page.until(
        "document.getElementById('progress').textContent.startsWith('2 pairs left, 0')"
    )
    await page.press("s")
    await page.press("d")
    await page.until("document.getElementById('export').textContent === 'Export 2 pairs'")
    lines = [json.loads(line) for line in (await page.run(EXPORTED)).splitlines()]
    assert lines == [
        {"a": "valkey what", "b": "valkey is what", "same": True},
        {"a": "valkey what", "b": "valkey or what", "same": False},
    ]
    await page.tab_to("#log-out")
    await page.press_and_load("Enter")
    await page.until("!document.getElementById('log-in').hidden")
    assert await page.run("document.getElementById('view').textContent") == ""


async def test_a_hit_of_which_comparing_shows_nothing_is_labelled_by_one_key(page: Page) -> None:
    setup = Setup(admin_token=TOKEN, verifier="on", audit_rate=1.0, upstream_api_key="sk")
    setup.upstream.handler = Saying("A store of keys.", "A cache that is quick.")
    setup.verifier.answer = lambda _: 0.999
    async with setup.run() as url, httpx.AsyncClient() as client:
        client.base_url = httpx.URL(url.removesuffix("/v1"))
        for text in ("valkey what", "valkey is what"):
            await ask(client, text)
        audits = 'reprise_audited_total{agreement="open"'
        async with asyncio.timeout(10):
            while audits not in (await client.get("/metrics")).text:
                pass
        await log_in(page, f"{client.base_url}/dashboard#review", TOKEN)
        assert await page.text("#asked") == "valkey is what"
        told = await page.run("document.querySelector('.pair').textContent")
        for part in (
            "A store of keys.",
            "A cache that is quick.",
            "served, the comparison gave no result",
        ):
            assert part in told
        assert (await page.text("#progress")).startswith("1 pair left,")  # not by the verifier too
        await page.run("document.querySelector('.pair').focus()")
        await page.press("d")
        await page.until("document.getElementById('export').textContent === 'Export 1 pair'")
        (line,) = (await page.run(EXPORTED)).splitlines()
    assert json.loads(line) == {"a": "valkey what", "b": "valkey is what", "same": False}


async def test_another_sites_page_can_neither_frame_it_nor_act_as_the_operator(
    tmp_path: Path, client: httpx.AsyncClient
) -> None:
    async def attack(exchange: Exchange) -> None:
        await exchange.read()
        await exchange.start(200, (b"content-type", b"text/html"))
        await exchange.write(ATTACK.encode())
        await exchange.end()

    entry = await ask(client, "valkey what")
    async with upstream_of(UpstreamApp(attack)) as url, browser_page(tmp_path) as page:
        await log_in(page, f"{client.base_url}/dashboard#entry/{entry}", TOKEN)
        await page.text("#answer")
        await page.go_to(url.removesuffix("/v1").replace("127.0.0.1", "localhost"))
        root = str(client.base_url)
        assert await page.run(f"attack({root!r}, {entry!r})") is True
        assert any("frame-ancestors" in complaint for complaint in page.complaints)
    told = (await client.get(f"/cache/entries/{entry}", headers=ADMIN)).json()
    assert told["disputed"] is False
