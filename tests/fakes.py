"""Implementations of the ports for tests: small, in memory, and able to fail on demand."""

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np

from app.core.calibration import Calibration
from app.core.feedback import Standing
from app.core.models import (
    Candidate,
    ClientRequest,
    Counts,
    Embedding,
    Header,
    Page,
    StoredEmbedding,
    StoredResponse,
    StoredText,
)
from app.core.ports import Keeping
from app.core.selectors import EVERYTHING, Selector
from app.stores.memory.store import MemoryStore


class ManualClock:
    """A clock that moves only when a test moves it."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


async def hang() -> None:
    """Wait for ever."""
    await asyncio.Event().wait()


class FakeEmbedder:
    """An embedder for which texts with the same first word are near each other."""

    name = "fake"
    dimensions = 8

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.credentials: list[Sequence[Header]] = []
        self.before: Callable[[], Awaitable[None]] | None = None
        self.answer: Callable[[str], Embedding | None] = embedding_of
        self.closed = False

    async def embed(self, text: str, credentials: Sequence[Header] = ()) -> Embedding | None:
        self.texts.append(text)
        self.credentials.append(credentials)
        if self.before is not None:
            await self.before()
        return self.answer(text)

    async def aclose(self) -> None:
        self.closed = True


class FakeVerifier:
    """A verifier that gives a candidate the probability that `answer` returns for its text."""

    def __init__(self) -> None:
        self.calibration = Calibration((0.0, 1.0), 0.4, ((0.01, 0.9), (0.05, 0.6)))
        self.asked: list[tuple[str, Sequence[StoredText]]] = []
        self.before: Callable[[], Awaitable[None]] | None = None
        self.answer: Callable[[str], float] = lambda _: 1.0
        self.closed = False

    async def verify(self, asked: str, candidates: Sequence[StoredText]) -> Sequence[float]:
        self.asked.append((asked, candidates))
        if self.before is not None:
            await self.before()
        return [self.answer(candidate.text) for candidate in candidates]

    async def aclose(self) -> None:
        self.closed = True


def embedding_of(text: str) -> Embedding:
    """Return a text's embedding: the first word gives the direction, the rest turns it a little."""
    first, _, rest = text.lower().partition(" ")
    vector = _direction(first) + 0.05 * _direction(rest)
    return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)


def _direction(text: str) -> Embedding:
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    vector = np.random.default_rng(seed).normal(size=FakeEmbedder.dimensions)
    return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)


class FakeStore:
    """A store in memory. Tests can delay its calls, make them fail, or replace their results."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.memory = MemoryStore(1000, clock, lambda _kind, _reason: None)
        self.before: Callable[[], Awaitable[None]] | None = None
        self.before_put: Callable[[], Awaitable[None]] | None = None
        self.before_totals: Callable[[], Awaitable[None]] | None = None
        self.got: StoredResponse | None = None
        self.found: Sequence[Candidate] | None = None
        self.given: Sequence[StoredEmbedding | None] | None = None
        self.page: Page | None = None
        self.calls: list[str] = []

    @property
    def epoch(self) -> str:
        return self.memory.epoch

    async def _enter(self, call: str) -> None:
        self.calls.append(call)
        if self.before is not None:
            await self.before()

    def use(self, digest: str) -> None:
        self.memory.use(digest)

    async def get(self, digest: str) -> StoredResponse | None:
        await self._enter("get")
        return self.got or await self.memory.get(digest)

    async def nearest(
        self,
        partition: str,
        embedding: Embedding,
        k: int,
        max_distance: float,
    ) -> Sequence[Candidate]:
        await self._enter("nearest")
        return self.found or await self.memory.nearest(partition, embedding, k, max_distance)

    async def put(self, stored: StoredResponse, embedding: Embedding | None) -> None:
        await self._enter("put")
        if self.before_put is not None:
            await self.before_put()
        await self.memory.put(stored, embedding)

    async def delete(self, *digests: str) -> int:
        await self._enter("delete")
        return await self.memory.delete(*digests)

    async def mark(self, stored: StoredResponse, standing: Standing) -> bool:
        await self._enter("mark")
        return await self.memory.mark(stored, standing)

    async def amend(self, stored: StoredResponse, amended: StoredResponse) -> bool:
        await self._enter("amend")
        return await self.memory.amend(stored, amended)

    async def scan(self, cursor: str, limit: int, selector: Selector = EVERYTHING) -> Page:
        await self._enter("scan")
        return self.page or await self.memory.scan(cursor, limit, selector)

    async def embeddings_of(self, digests: Sequence[str]) -> Sequence[Embedding | None]:
        await self._enter("embeddings_of")
        return await self.memory.embeddings_of(digests)

    async def refresh_epoch(self) -> None:
        await self._enter("refresh_epoch")
        await self.memory.refresh_epoch()

    async def advance_epoch(self) -> None:
        await self._enter("begin_turn")
        await self.memory.advance_epoch()

    async def purge(self) -> int:
        await self._enter("purge")
        return await self.memory.purge()

    async def get_embeddings(self, digests: Sequence[str]) -> Sequence[StoredEmbedding | None]:
        await self._enter("get_embeddings")
        return self.given or await self.memory.get_embeddings(digests)

    async def scan_embeddings(
        self, cursor: str, limit: int, caller: str
    ) -> tuple[Sequence[str], str]:
        await self._enter("scan_embeddings")
        return await self.memory.scan_embeddings(cursor, limit, caller)

    async def delete_embeddings(self, *digests: str) -> int:
        await self._enter("delete_embeddings")
        return await self.memory.delete_embeddings(*digests)

    async def put_embeddings(self, embeddings: Sequence[StoredEmbedding]) -> None:
        await self._enter("put_embeddings")
        if self.before_put is not None:
            await self.before_put()
        await self.memory.put_embeddings(embeddings)

    async def count(self) -> Counts:
        await self._enter("count")
        return await self.memory.count()

    async def facts(self) -> Mapping[str, object]:
        await self._enter("facts")
        return {"kind": "fake"}

    @property
    def totals_last(self) -> Keeping:
        return self.memory.totals_last

    async def add_totals(self, amounts: Mapping[str, int]) -> None:
        if self.before_totals is not None:
            await self.before_totals()
        await self.memory.add_totals(amounts)

    async def totals(self) -> Mapping[str, int]:
        return await self.memory.totals()

    async def aclose(self) -> None:
        await self.memory.aclose()


class FakeLeases:
    """Leases in this process; a test lets one expire by deleting it from `holders`."""

    def __init__(self) -> None:
        self.holders: dict[str, str] = {}
        self.calls: list[str] = []
        self.before: Callable[[], Awaitable[None]] | None = None

    async def _enter(self, call: str) -> None:
        self.calls.append(call)
        if self.before is not None:
            await self.before()

    async def take(self, name: str, token: str, seconds: float) -> str:
        await self._enter("take")
        assert seconds > 0
        return self.holders.setdefault(name, token)

    async def renew(self, name: str, token: str, seconds: float) -> bool:
        await self._enter("renew")
        assert seconds > 0
        return self.holders.get(name) == token

    async def release(self, name: str, token: str) -> None:
        await self._enter("release")
        if self.holders.get(name) == token:
            del self.holders[name]

    async def aclose(self) -> None:
        self.calls.append("aclose")


class FakeResponse:
    """An upstream response made of pieces; it waits at a gate, if given, before each piece."""

    def __init__(
        self,
        pieces: Sequence[bytes | Exception],
        status_code: int = 200,
        headers: Sequence[Header] = ((b"content-type", b"application/json"),),
    ) -> None:
        self.status_code = status_code
        self.headers = headers
        self.pieces = pieces
        self.gate: Callable[[int], Awaitable[None]] | None = None
        self.sent = 0
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for index, piece in enumerate(self.pieces):
            if self.gate is not None:
                await self.gate(index)
            if isinstance(piece, Exception):
                raise piece
            self.sent += 1
            yield piece

    async def aclose(self) -> None:
        self.closed = True


class FakeUpstream:
    """An upstream that answers with `answer(request)`, and records the requests."""

    def __init__(self, answer: Callable[[ClientRequest], FakeResponse] | None = None) -> None:
        self.answer = answer or (lambda request: FakeResponse([completion_json(request)]))
        self.before: Callable[[], Awaitable[None]] | None = None
        self.requests: list[ClientRequest] = []
        self.responses: list[FakeResponse] = []

    async def send(self, request: ClientRequest) -> FakeResponse:
        self.requests.append(request)
        if self.before is not None:
            await self.before()
        response = self.answer(request)
        self.responses.append(response)
        return response

    async def aclose(self) -> None:
        pass


def completion(content: str | None = "An answer.", **message: Any) -> dict[str, Any]:
    """Make a chat completion as OpenAI would."""
    return {
        "id": "chatcmpl-upstream",
        "object": "chat.completion",
        "created": 1_600_000_000,
        "model": "gpt-test-2024",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": content, "refusal": None, **message},
                "logprobs": None,
                "finish_reason": "tool_calls" if "tool_calls" in message else "stop",
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        "system_fingerprint": "fp_test",
    }


def completion_json(request: ClientRequest) -> bytes:
    """Answer a request with a completion that names its last message."""
    assert isinstance(request.body, bytes)
    asked = json.loads(request.body)["messages"][-1]["content"]
    return json.dumps(completion(f"Answer to {asked}")).encode()


def numbers(item: Any, encoding: str = "float") -> Any:
    """Embed an input of an embeddings request as the fake upstream does."""
    raw = (embedding_of(json.dumps(item))[:4]).astype("<f4")
    if encoding == "base64":
        return base64.b64encode(raw.tobytes()).decode()
    return [float(str(number)) for number in raw]


class HasBody(Protocol):
    """A request whose body has been read."""

    @property
    def body(self) -> object: ...


def embeddings_json(request: HasBody) -> bytes:
    """Return the answer to an embeddings request; each word of an input counts as a token."""
    assert isinstance(request.body, bytes)
    asked = json.loads(request.body)
    inputs = asked["input"]
    if isinstance(inputs, str) or isinstance(inputs[0], int):
        inputs = [inputs]
    encoding = asked.get("encoding_format", "float")
    data = [
        {"object": "embedding", "index": index, "embedding": numbers(item, encoding)}
        for index, item in enumerate(inputs)
    ]
    tokens = sum(len(item.split()) if isinstance(item, str) else len(item) for item in inputs)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return json.dumps({"object": "list", "data": data, "model": "m", "usage": usage}).encode()


class FakeProgress:
    """Records each piece of work that is begun: its label, its steps, and the steps done."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int, int]] = []

    @contextmanager
    def __call__(self, label: str, steps: int) -> Iterator[Callable[[], None]]:
        done: list[None] = []
        yield lambda: done.append(None)
        self.seen.append((label, steps, len(done)))
