"""A real browser, driven by the DevTools protocol: https://chromedevtools.github.io/devtools-protocol.

Debian's chromium, without a driver: the protocol is JSON over a WebSocket.
"""

import asyncio
import base64
import itertools
import json
import re
import shutil
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

CHROMIUM = shutil.which("chromium")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--hide-scrollbars", "--force-color-profile=srgb", "--lang=en-US"),
)
_TOLD = re.compile(r"DevTools listening on (ws://\S+)")
_KEYS = {"Tab": (9, ""), "Enter": (13, "\r"), " ": (32, " "), "ArrowLeft": (37, "")}
_PATIENCE = 30.0  # seconds


class Page:
    """One page of a browser. `complaints` are the messages of its console and its dialogs."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.complaints: list[str] = []
        self._socket = socket
        self._session = ""
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._loaded = asyncio.Event()

    async def listen(self) -> None:
        """Handle the browser's messages until the connection is closed."""
        async for message in self._socket:
            told = json.loads(message.data)
            if (waiting := self._waiting.pop(told.get("id", 0), None)) is not None:
                waiting.set_result(told)
            elif told.get("method") == "Page.loadEventFired":
                self._loaded.set()
            elif told.get("method") == "Page.javascriptDialogOpening":
                self.complaints.append(f"dialog: {told['params']['message']}")
            elif told.get("method") == "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(told["params"]["exceptionDetails"]))
            elif told.get("method") == "Log.entryAdded":
                entry = told["params"]["entry"]
                if entry["level"] in {"warning", "error"}:
                    self.complaints.append(entry["text"])

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        number = next(self._numbers)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        message = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        await self._socket.send_json(message)
        told = await asyncio.wait_for(self._waiting[number], _PATIENCE)
        assert "error" not in told, f"{method}: {told}"
        result: dict[str, Any] = told["result"]
        return result

    async def attach(self) -> None:
        """Open a page, and send all later calls to it."""
        target = await self.call("Target.createTarget", url="about:blank")
        attached = await self.call(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            await self.call(f"{domain}.enable")

    async def go_to(self, url: str) -> None:
        """Load a page, and return once it has loaded."""
        self._loaded.clear()
        await self.call("Page.navigate", url=url)
        await asyncio.wait_for(self._loaded.wait(), _PATIENCE)

    async def run(self, expression: str) -> Any:
        """Return the value of a JavaScript expression; a promise is awaited."""
        told = await self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    async def until(self, expression: str) -> Any:
        """Return the value of an expression once it is true."""
        waiting = f"""new Promise((resolve) => {{
          const look = () => {{
            const value = ({expression});
            if (value) resolve(value); else setTimeout(look, 20);
          }};
          look();
        }})"""
        try:
            return await self.run(waiting)
        except TimeoutError:
            shown = await self.run("document.body.innerText")
            raise AssertionError(f"never: {expression}\n{shown}\n{self.complaints}") from None

    async def text(self, selector: str) -> str:
        """Return the text of an element once there is one."""
        found = f"document.querySelector({json.dumps(selector)})"
        return str(await self.until(f"{found} && {found}.textContent"))

    async def click(self, selector: str) -> None:
        """Click an element once there is one."""
        found = f"document.querySelector({json.dumps(selector)})"
        await self.until(f"{found} && ({found}.click(), true)")

    async def fill(self, selector: str, text: str) -> None:
        """Write a text into a field, as if it was typed."""
        await self.run(f"document.querySelector({json.dumps(selector)}).focus()")
        await self.call("Input.insertText", text=text)

    async def press(self, key: str) -> None:
        """Press a key."""
        code, text = _KEYS.get(key, (ord(key[0].upper()), key))
        stroke = {"key": key, "windowsVirtualKeyCode": code, "text": text}
        await self.call("Input.dispatchKeyEvent", type="keyDown", **stroke)
        await self.call("Input.dispatchKeyEvent", type="keyUp", **stroke)

    async def press_and_load(self, key: str) -> None:
        """Press a key, and return once a page has loaded after that."""
        self._loaded.clear()
        await self.press(key)
        await asyncio.wait_for(self._loaded.wait(), _PATIENCE)

    async def tab_to(self, selector: str) -> None:
        """Press the Tab key until an element has the focus."""
        chosen = f"document.activeElement.matches({json.dumps(selector)})"
        for _ in range(60):
            if await self.run(chosen):
                return
            await self.press("Tab")
        raise AssertionError(f"the tabulator does not reach {selector}")

    async def look_like(self, width: int, height: int, scheme: str) -> None:
        """Give the page a size, in CSS pixels, and a colour scheme: light or dark."""
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        await self.call("Emulation.setEmulatedMedia", features=features)

    async def picture(self) -> bytes:
        """Return a PNG of the visible part of the page."""
        told = await self.call("Page.captureScreenshot", format="png", optimizeForSpeed=False)
        return base64.b64decode(told["data"])


@asynccontextmanager
async def browser_page(folder: Path) -> AsyncIterator[Page]:
    """Start a browser with a profile in `folder`, and yield a page of it."""
    assert CHROMIUM is not None
    process = await asyncio.create_subprocess_exec(
        *(CHROMIUM, *FLAGS, "--remote-debugging-port=0", f"--user-data-dir={folder}"),
        "about:blank",
        stdout=DEVNULL,
        stderr=PIPE,
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(_PATIENCE):
            while (told := _TOLD.match((await process.stderr.readline()).decode())) is None:
                assert process.returncode is None
        reading = asyncio.create_task(process.stderr.read())  # else the browser waits for a reader
        async with (
            aiohttp.ClientSession() as client,
            client.ws_connect(told[1], max_msg_size=0) as socket,
        ):
            page = Page(socket)
            listening = asyncio.create_task(page.listen())
            await page.attach()
            yield page
            await socket.close()
            await listening
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
    await reading


async def log_in(page: Page, url: str, token: str) -> None:
    """Open the dashboard at `url`, which may name one of its views, and log in by keyboard."""
    await page.go_to(url)
    await page.until("!document.getElementById('log-in').hidden")
    await page.fill("#token", token)
    await page.press("Enter")
    await page.until("document.getElementById('log-in').hidden")
