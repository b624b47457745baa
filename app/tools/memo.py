"""Wrappers of an embedder or a verifier, most of which cache results.

Several proxies may use one wrapper in turn.
"""

from collections.abc import Callable, Iterable, Sequence

from app.core.calibration import Calibration
from app.core.models import Embedding, Header, StoredText
from app.core.ports import Embedder, Verifier
from app.tools.at_once import each


class Memo:
    """Caches an embedder's result for each text. The creator of `embedder` closes it."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._known: dict[str, Embedding | None] = {}
        self.name = embedder.name
        self.dimensions = embedder.dimensions

    async def embed(self, text: str, credentials: Sequence[Header] = ()) -> Embedding | None:
        """Return the embedding of a text. The text is embedded only if it is not in the cache."""
        if text not in self._known:
            self._known[text] = await self._embedder.embed(text, credentials)
        return self._known[text]

    async def learn(self, texts: Iterable[str], advance: Callable[[], None]) -> None:
        """Embed texts into the cache; `advance` is called after each text."""
        await each(texts, self.embed, advance)

    async def aclose(self) -> None:
        """Do nothing: the creator of the embedder closes it."""


class Lent:
    """Calls a verifier, optionally with another calibration.

    `calibration`, if given, replaces the calibration of `verifier`. The creator of `verifier`
    closes it.
    """

    def __init__(self, verifier: Verifier, calibration: Calibration | None = None) -> None:
        self._verifier = verifier
        self.calibration = calibration or verifier.calibration

    async def verify(self, asked: str, candidates: Sequence[StoredText]) -> Sequence[float]:
        """Return the verifier's probability for each candidate."""
        return await self._verifier.verify(asked, candidates)

    async def aclose(self) -> None:
        """Do nothing: the creator of the verifier closes it."""


class Remembered:
    """Caches a verifier's probability for each pair of texts. The creator of `verifier` closes it.

    The distance is not part of the cache's key, because
    the distance depends only on the two texts.
    """

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier
        self._known: dict[tuple[str, str], float] = {}
        self.calibration = verifier.calibration

    async def verify(self, asked: str, candidates: Sequence[StoredText]) -> Sequence[float]:
        """Return each candidate's probability.

        All candidates that are not in the cache are verified in one call.
        """
        if new := [c for c in candidates if (asked, c.text) not in self._known]:
            told = await self._verifier.verify(asked, new)
            for candidate, probability in zip(new, told, strict=True):
                self._known[asked, candidate.text] = probability
        return [self._known[asked, candidate.text] for candidate in candidates]

    async def aclose(self) -> None:
        """Do nothing: the creator of the verifier closes it."""
