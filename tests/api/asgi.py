"""Fakes of an ASGI server: its scopes, its `receive` (class Client) and its `send` (class Sent)."""

import asyncio
from typing import Any

from starlette.types import Message

from app.core.models import Header


def scope_of(path: str = "/v1/chat/completions", *headers: Header) -> dict[str, Any]:
    return {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [*headers],
        "state": {},
    }


def piece(body: bytes, *, more: bool = False) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


class Client:
    """An ASGI `receive`. It gives a request's messages, and a disconnect after `leaves` is set."""

    def __init__(self, *messages: Message) -> None:
        self._messages = [*messages]
        self.leaves = asyncio.Event()

    async def __call__(self) -> Message:
        if self._messages:
            return self._messages.pop(0)
        await self.leaves.wait()
        return {"type": "http.disconnect"}


class Sent:
    """An ASGI `send` that records what an application has sent."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def __call__(self, message: Message) -> None:
        self.messages.append(message)

    @property
    def status_code(self) -> int:
        code: int = self.messages[0]["status"]
        return code

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.messages[0]["headers"])

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.messages[1:])

    @property
    def is_whole(self) -> bool:
        return len(self.messages) > 1 and not self.messages[-1].get("more_body", False)
