"""A client for a proxy on this machine, with one persistent connection."""

import http.client
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

_PATIENCE = 60.0  # seconds
_OK = 200


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, and how it was served.

    `distance`, `cache_status`: the values of the headers `x-cache-distance` and `cache-status`.
    `seconds`: the time from the request to the last byte.
    """

    answer: str = field(repr=False)
    is_hit: bool
    distance: str | None
    cache_status: str
    seconds: float


class Client:
    """Sends questions to a proxy on this machine. Variables such as HTTP_PROXY are ignored."""

    def __init__(self, base_url: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(base_url).netloc, timeout=_PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._connection.close()

    def ask(self, question: str, headers: Mapping[str, str]) -> Reply:
        """Ask a question and read the answer.

        Raises RuntimeError if the status of the answer is not 200.
        """
        message = {"role": "user", "content": question}
        body = json.dumps({"model": "simulated", "messages": [message]}).encode()
        begin = time.perf_counter()
        told, raw = self.post("/v1/chat/completions", body, headers)
        seconds = time.perf_counter() - begin
        return Reply(
            answer=json.loads(raw)["choices"][0]["message"]["content"],
            is_hit=told["x-cache"] == "HIT",
            distance=told["x-cache-distance"],
            cache_status=told["cache-status"],
            seconds=seconds,
        )

    def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> tuple[Message, bytes]:
        """Send a POST request; return the headers and the body of the answer.

        Raises RuntimeError if the status of the answer is not 200.
        """
        headers = {"Content-Type": "application/json", **headers}
        self._connection.request("POST", path, body, headers)
        response = self._connection.getresponse()
        raw = response.read()
        if response.status != _OK:
            raise RuntimeError(f"the proxy answered {response.status}")
        return response.headers, raw
