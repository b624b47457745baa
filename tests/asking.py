"""Strategies of hypothesis for requests to `/cache/explain`."""

import json
from dataclasses import dataclass
from typing import Any

from app.core.models import Header


@dataclass(frozen=True)
class Ask:
    """A request to explain: its body and headers."""

    body: bytes
    headers: tuple[Header, ...] = ()


def body_of(text: str = "valkey what", **fields: Any) -> bytes:
    messages = [{"role": "user", "content": text}]
    return json.dumps({"model": "m", "messages": messages, **fields}).encode()
