"""The ports: all that the engine knows of the world outside.

An implementation may raise anything and take for ever; the engine bounds and counts it. It raises
Declined for what is not its failure, such as too much to do at once, and DependencyFailed where
the log is to say what failed.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol

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
from app.core.selectors import EVERYTHING, Selector


class Store(Protocol):
    """Keeps stored responses for as long as they are fresh or may serve stale, and finds them.

    This is what every request needs.
    """

    @property
    def epoch(self) -> str:
        """The token of the present epoch, as far as known; what carries another one is not stored.

        Each purge replaces it, and so defeats answers that are on their way: they were asked for in
        another epoch. What is stored already, and of the same era (`epochs.py`), lives on.
        """

    async def get(self, digest: str) -> StoredResponse | None:
        """Return the response stored under an exact key, or None."""

    async def nearest(
        self,
        partition: str,
        embedding: Embedding,
        k: int,
        max_distance: float,
    ) -> Sequence[Candidate]:
        """Return up to `k` responses of a partition within a cosine distance, nearest first."""

    async def put(self, stored: StoredResponse, embedding: Embedding | None) -> None:
        """Store a response in place of an older one; without embedding, for exact matches only."""

    def use(self, digest: str) -> None:
        """Count an entry as used: it has answered. What that means is the store's to decide."""

    async def aclose(self) -> None:
        """Write what is pending and let go of everything."""


class StoreOperations(Protocol):
    """What operators need of a store, beside what every request does."""

    async def delete(self, *digests: str) -> int:
        """Remove the responses stored under exact keys; return how many there were."""

    async def mark(self, stored: StoredResponse, standing: Standing) -> bool:
        """Set how far an entry is trusted if it is still as it was read; return whether it is."""

    async def amend(self, stored: StoredResponse, amended: StoredResponse) -> bool:
        """Change who may be answered by an entry; return whether it was still as it was read.

        That is `is_disputed`, `askers` and `is_pinned`; all else stays.
        """

    async def scan(self, cursor: str, limit: int, selector: Selector = EVERYTHING) -> Page:
        """Return a page of up to `limit` stored responses; `cursor` is an earlier page's, or empty.

        What is stored or removed meanwhile may be missing; everything else comes exactly once. A
        page may be short, or empty, and yet not the last one.
        """

    async def embeddings_of(self, digests: Sequence[str]) -> Sequence[Embedding | None]:
        """Return the embeddings by which responses are found, or None, in order."""

    async def advance_epoch(self) -> None:
        """Let nothing be stored that was asked for before; what is stored lives on."""

    async def purge(self) -> int:
        """Remove everything, embeddings included; return how much there was.

        Nobody is served any of it once this returns.
        """

    async def count(self) -> Counts:
        """Count what is stored."""

    async def facts(self) -> Mapping[str, object]:
        """Return facts about this kind of store for an operator, ready for JSON."""


class EmbeddingStore(Protocol):
    """Keeps the embeddings that the upstream has made."""

    @property
    def epoch(self) -> str:
        """The token of the present epoch, the same as that of the Store."""

    async def get_embeddings(self, digests: Sequence[str]) -> Sequence[StoredEmbedding | None]:
        """Return the embedding stored under each exact key, or None, in order."""

    async def put_embeddings(self, embeddings: Sequence[StoredEmbedding]) -> None:
        """Store embeddings in place of older ones."""

    async def scan_embeddings(
        self, cursor: str, limit: int, caller: str
    ) -> tuple[Sequence[str], str]:
        """Return the exact keys of a caller's embeddings among the next ones, and a cursor.

        Cursors and pages as those of `scan`; about `limit` embeddings are looked at.
        """

    async def delete_embeddings(self, *digests: str) -> int:
        """Remove the embeddings stored under exact keys; return how many there were."""


class WholeStore(Store, StoreOperations, EmbeddingStore, Protocol):
    """A store of responses and embeddings, which share their epoch."""


class Leases(Protocol):
    """Who of a fleet asks for an answer. A lease lasts for some `seconds` and runs out by itself.

    A `token` names a holder: a late one does not touch the lease of its successor.
    """

    async def take(self, name: str, token: str, seconds: float) -> str:
        """Take a lease that is free; return the token of who holds it now."""

    async def renew(self, name: str, token: str, seconds: float) -> bool:
        """Let a lease last for so long from now; return whether it still was ours."""

    async def release(self, name: str, token: str) -> None:
        """Release a lease, if it still is ours."""

    async def aclose(self) -> None:
        """Let go of everything."""


class Embedder(Protocol):
    """Turns a text into a vector whose direction is its meaning."""

    @property
    def name(self) -> str:
        """The model; embeddings of different models cannot be compared."""

    @property
    def dimensions(self) -> int:
        """The length of its vectors."""

    async def embed(self, text: str, credentials: Sequence[Header] = ()) -> Embedding | None:
        """Embed a text: shape (dimensions,), unit length.

        `credentials` are header lines of whoever asks; only an embedder that is the upstream uses
        them, which is sent them anyway.

        None where the model cannot represent the whole text: it is too long or holds an unknown
        token, so that its embedding would be another text's too.
        """

    async def aclose(self) -> None:
        """Let go of everything."""


class Verifier(Protocol):
    """Reads two questions together and rates whether one answer serves both."""

    @property
    def calibration(self) -> Calibration:
        """Its calibration: the greatest distance worth asking about, and what is likely enough."""

    async def verify(self, asked: str, candidates: Sequence[StoredText]) -> Sequence[float]:
        """Return for each candidate the probability, 0 to 1, that its answer serves the question.

        0 where the model cannot see all of both.
        """

    async def aclose(self) -> None:
        """Let go of everything."""


class UpstreamResponse(Protocol):
    """A response whose head is here and whose body is arriving."""

    @property
    def status_code(self) -> int:
        """The upstream's status."""

    @property
    def headers(self) -> Sequence[Header]:
        """The headers that travel end to end; names in lower case."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the body's bytes as they arrive, still encoded.

        Raises UpstreamInterrupted if the body breaks off or falls silent.
        """

    async def aclose(self) -> None:
        """Release the upstream, at once if the body is not at its end; idempotent."""


class Upstream(Protocol):
    """The server whose answers are stored."""

    async def send(self, request: ClientRequest) -> UpstreamResponse:
        """Forward a request and return the response once its head is here.

        Asks at most once. Raises UpstreamUnreachable or UpstreamTimeout.
        """

    async def aclose(self) -> None:
        """Close all connections."""
