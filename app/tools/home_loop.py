"""Lets code in any event loop call models whose connections belong to one particular loop."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from app.core.errors import CallFailed, RepriseError
from app.core.models import Embedding, Header, StoredText
from app.core.ports import Embedder, Verifier

T = TypeVar("T")


class HomeLoop:
    """The event loop to which the connections of models belong. It runs in its own thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in this loop. Await the result in the caller's loop, and return it."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in this loop. Block until it ends, and return its result.

        This is for callers that have no event loop.
        """
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


@contextmanager
def home_loop() -> Iterator[HomeLoop]:
    """Run an event loop in its own thread during the block."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="home", daemon=True)
    thread.start()
    try:
        yield HomeLoop(loop)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class EmbedderAtHome:
    """Calls an embedder in the event loop `home`. The creator of `embedder` closes it."""

    def __init__(self, embedder: Embedder, home: HomeLoop) -> None:
        self._embedder = embedder
        self._home = home
        self.name = embedder.name
        self.dimensions = embedder.dimensions

    async def embed(self, text: str, credentials: Sequence[Header] = ()) -> Embedding | None:
        """Return the embedding of a text. Raises CallFailed if the embedder fails."""
        try:
            return await self._home.run(_embed(self._embedder, text, credentials))
        except RepriseError as error:
            raise CallFailed(f"the embedder failed: {error}") from error

    async def aclose(self) -> None:
        """Do nothing: the creator of the embedder closes it."""


class VerifierAtHome:
    """Calls a verifier in the event loop `home`. The creator of `verifier` closes it."""

    def __init__(self, verifier: Verifier, home: HomeLoop) -> None:
        self._verifier = verifier
        self._home = home
        self.calibration = verifier.calibration

    async def verify(self, asked: str, candidates: Sequence[StoredText]) -> Sequence[float]:
        """Return the verifier's probability for each candidate.

        Raises CallFailed if the verifier fails.
        """
        try:
            return await self._home.run(_verify(self._verifier, asked, candidates))
        except RepriseError as error:
            raise CallFailed(f"the verifier failed: {error}") from error

    async def aclose(self) -> None:
        """Do nothing: the creator of the verifier closes it."""


async def _embed(embedder: Embedder, text: str, credentials: Sequence[Header]) -> Embedding | None:
    return await embedder.embed(text, credentials)


async def _verify(
    verifier: Verifier, asked: str, candidates: Sequence[StoredText]
) -> Sequence[float]:
    return await verifier.verify(asked, candidates)
