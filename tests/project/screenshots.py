"""Takes the pictures of docs/dashboard.md: `python -m tests.project.screenshots` (one minute).

The proxy is complete, with the models that ship and the simulated upstream.
"""

import asyncio
import random
import tempfile
from pathlib import Path

import httpx
from pydantic import SecretStr

from app.main import create_app
from app.settings import FixedSettings
from tests.browser import Page, browser_page, log_in
from tests.servers import proxy_of

PICTURES = Path(__file__).parent.parent.parent / "docs" / "pictures"
TOKEN = "admin-token"
DESKTOP, PHONE = (1180, 800), (390, 844)
QUESTIONS = (
    "What is Valkey?",
    "Can you explain what Valkey is?",
    "What is not Valkey?",
    "How do I reset my password?",
    "How can I reset my password?",
    "How do I delete my account?",
    "What is the capital of France?",
    "What is the capital of Finland?",
    "How many days are in a leap year?",
    "Can you tell me how many days a leap year has?",
    "How do I cook pasta?",
    "What is the best way to cook pasta?",
)


async def ask(client: httpx.AsyncClient, count: int, seed: int) -> None:
    """Ask `count` questions. Most of them are hits."""
    draw = random.Random(seed)  # noqa: S311
    for _ in range(count):
        text = draw.choice(QUESTIONS)
        body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}]}
        (await client.post("/chat/completions", json=body)).raise_for_status()


async def take(page: Page, name: str, size: tuple[int, int], scheme: str) -> None:
    """Write a picture of what a page shows at a size and in a colour scheme."""
    await page.look_like(*size, scheme)
    await page.run("new Promise((resolve) => setTimeout(resolve, 300))")
    (PICTURES / f"{name}.png").write_bytes(await page.picture())


async def take_entry(page: Page) -> None:
    """Take a picture of the entry that has answered the most requests."""
    await page.run("location.hash = 'entries'")
    await page.until("document.getElementById('by')")
    await page.run("""(() => {
      const by = document.getElementById("by");
      by.value = "most-used";
      by.form.requestSubmit();
    })()""")
    await page.click(".entries a")
    await page.text("#answered")
    await take(page, "entry-light", DESKTOP, "light")


async def take_all(page: Page, url: str, client: httpx.AsyncClient) -> None:
    """Log in and take every picture."""
    await page.look_like(*DESKTOP, "light")
    await log_in(page, f"{url}/dashboard", TOKEN)
    for seed in range(3):
        await ask(client, 40, seed)
        looked = await page.text("#state")
        await page.until(f"document.getElementById('state').textContent !== {looked!r}")
    await take(page, "overview-light", DESKTOP, "light")
    await take(page, "overview-dark", DESKTOP, "dark")
    await take(page, "phone-light", PHONE, "light")
    await take(page, "phone-dark", PHONE, "dark")
    await page.look_like(*DESKTOP, "light")
    await take_entry(page)
    await page.run("location.hash = 'review'")
    await page.text("#stored")
    await take(page, "review-light", DESKTOP, "light")
    await page.run("location.hash = 'playground'")
    await page.until("document.getElementById('question')")
    await page.fill("#question", "Could you tell me how to reset my password?")
    await page.press("Tab")
    await page.run("document.querySelector('form.card:not(#log-in)').requestSubmit()")
    await page.text("#decision")
    await page.run("document.querySelector('.verdict').closest('section').scrollIntoView()")
    await take(page, "playground-light", DESKTOP, "light")


async def main() -> None:
    settings = FixedSettings(
        upstream_url="simulated://?delay_ms=40",
        upstream_api_key=SecretStr("sk"),
        admin_token=SecretStr(TOKEN),
        audit_rate=0.5,
        max_error_rate=0.1,
    )
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        async with (
            proxy_of(create_app(settings)) as (url, _),
            httpx.AsyncClient(base_url=url) as client,
            browser_page(Path(folder)) as page,
        ):
            await take_all(page, url.removesuffix("/v1"), client)


if __name__ == "__main__":
    asyncio.run(main())
