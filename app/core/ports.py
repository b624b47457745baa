"""The ports: the interfaces through which the engine uses stores, models and the upstream.

An implementation may raise any exception and may take any time: the engine sets timeouts, catches
and counts failures. It should raise Declined if it refuses work without having failed, for example
because it is overloaded, and DependencyFailed with a text that may be logged if it has failed.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Literal, Protocol

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
    Usage,
)
from app.core.selectors import EVERYTHING, Selector

Keeping = Literal["process", "file", "fleet"]
"""Where sums are kept: in the process until it ends, in a file, or in a shared server."""


class Store(Protocol):
    """Keeps stored responses while they are fresh or may be served stale, and finds them.

    These are the methods that requests of clients need.
    """

    @property
    def epoch(self) -> str:
        """The token of the current epoch, as far as this process knows.

        Each purge replaces the token. An answer that was requested before the purge carries the old
        token, so it is not stored. Entries already stored in the same era (`epochs.py`) stay.
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
        """Store a response, replacing an older one; without embedding, for exact matches only."""

    def use(self, digest: str) -> None:
        """Note that an entry has answered a request; a store may use that to choose evictions."""

    async def aclose(self) -> None:
        """Write pending data and release all resources."""


class StoreOperations(Protocol):
    """The methods of a store that only operators' requests need."""

    async def delete(self, *digests: str) -> int:
        """Remove the responses stored under these exact keys; return how many were removed."""

    async def mark(self, stored: StoredResponse, standing: Standing) -> bool:
        """Set how far an entry is trusted, unless it has changed since it was read.

        `stored` is the entry as it was read. Return False if it has changed, so
        that nothing was set.
        """

    async def amend(self, stored: StoredResponse, amended: StoredResponse) -> bool:
        """Write an entry's `is_disputed`, `askers` and `is_pinned`, unless it has changed.

        `stored` is the entry as it was read; `amended` has the new values. Other fields stay.
        Return False if the entry has changed, so that nothing was written.
        """

    async def scan(self, cursor: str, limit: int, selector: Selector = EVERYTHING) -> Page:
        """Return a page of up to `limit` stored responses that `selector` selects.

        `cursor` is empty for the first page, then the previous page's cursor. Entries stored or
        removed during the scan may be missing; all others are returned exactly once. A page that is
        short or empty is not necessarily the last one.
        """

    async def embeddings_of(self, digests: Sequence[str]) -> Sequence[Embedding | None]:
        """Return for each exact key in `digests`, in order, its question's embedding, or None."""

    async def refresh_epoch(self) -> None:
        """Read the current epoch from the store, so that the property `epoch` is up to date."""

    async def advance_epoch(self) -> None:
        """Begin a new epoch: answers requested before are not stored; stored entries stay."""

    async def purge(self) -> int:
        """Remove all entries, embeddings included; return how many there were.

        None of them is served once this has returned.
        """

    async def count(self) -> Counts:
        """Return how many answers and embeddings are stored."""

    async def facts(self) -> Mapping[str, object]:
        """Return facts about this store to show to an operator, as JSON values."""


class EmbeddingStore(Protocol):
    """Keeps the upstream's answers to embeddings requests, one entry per input."""

    @property
    def epoch(self) -> str:
        """The token of the current epoch, shared with the Store."""

    async def get_embeddings(self, digests: Sequence[str]) -> Sequence[StoredEmbedding | None]:
        """Return for each exact key in `digests`, in order, the stored embedding, or None."""

    async def put_embeddings(self, embeddings: Sequence[StoredEmbedding]) -> None:
        """Store embeddings, replacing older ones with the same keys."""

    async def scan_embeddings(
        self, cursor: str, limit: int, caller: str
    ) -> tuple[Sequence[str], str]:
        """Look at about `limit` embeddings; return exact keys and the next cursor.

        The keys are those of embeddings fetched for a caller with the name `caller`. The cursor
        works as in `scan`.
        """

    async def delete_embeddings(self, *digests: str) -> int:
        """Remove the embeddings stored under these exact keys; return how many were removed."""


class Totals(Protocol):
    """Keeps named sums of whole numbers. A purge does not remove them."""

    @property
    def totals_last(self) -> Keeping:
        """Where the sums are kept."""

    async def add_totals(self, amounts: Mapping[str, int]) -> None:
        """Add amounts to sums; a new sum begins at 0."""

    async def totals(self) -> Mapping[str, int]:
        """Return all sums by name."""


class WholeStore(Store, StoreOperations, EmbeddingStore, Totals, Protocol):
    """A store of responses and of embeddings, with one epoch for both, and of sums."""


class Prices(Protocol):
    """The prices of models."""

    def nanodollars(self, model: str, usage: Usage) -> int | None:
        """Return the price of an answer in billionths of a dollar; None if it is not known."""


class Leases(Protocol):
    """Leases by which one process of a fleet is chosen to ask the upstream for an answer.

    A lease expires by itself after `seconds`. `token` identifies its holder, so a holder whose
    lease has expired cannot renew or release the lease of its successor.
    """

    async def take(self, name: str, token: str, seconds: float) -> str:
        """Take the lease if it is free; return the token of the process that now holds it."""

    async def renew(self, name: str, token: str, seconds: float) -> bool:
        """Extend the lease to `seconds` from now if `token` holds it; return whether it did."""

    async def release(self, name: str, token: str) -> None:
        """Release the lease if `token` still holds it."""

    async def aclose(self) -> None:
        """Release all resources."""


class Embedder(Protocol):
    """Turns a text into a vector whose direction represents the text's meaning."""

    @property
    def name(self) -> str:
        """The name of the model; embeddings of different models cannot be compared."""

    @property
    def dimensions(self) -> int:
        """The number of dimensions of the vectors."""

    async def embed(self, text: str, credentials: Sequence[Header] = ()) -> Embedding | None:
        """Return a text's embedding: shape (dimensions,), unit length.

        Return None if the model cannot represent the whole text, because it is too long or contains
        an unknown token: another text would then have the same embedding.

        `credentials` are the caller's credential headers. They are used only if the embedder is the
        upstream, which gets them anyway.
        """

    async def aclose(self) -> None:
        """Release all resources."""


class Verifier(Protocol):
    """Reads two questions together and rates whether one answer serves both."""

    @property
    def calibration(self) -> Calibration:
        """The calibration: the greatest distance to verify, and the least probability to serve."""

    async def verify(self, asked: str, candidates: Sequence[StoredText]) -> Sequence[float]:
        """Return for each candidate the probability, 0 to 1, that its answer serves the question.

        The probability is 0 if the two questions together are too long for the model.
        """

    async def aclose(self) -> None:
        """Release all resources."""


class UpstreamResponse(Protocol):
    """A response whose head has arrived and whose body is still arriving."""

    @property
    def status_code(self) -> int:
        """The HTTP status."""

    @property
    def headers(self) -> Sequence[Header]:
        """The end-to-end headers (RFC 9110 §7.6.1); names in lower case."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the body's bytes as they arrive, still in their content coding.

        Raises UpstreamInterrupted if the body breaks off or nothing arrives within the timeout.
        """

    async def aclose(self) -> None:
        """Release the connection; close it if the body has not ended. Idempotent."""


class Upstream(Protocol):
    """The server whose answers are stored."""

    async def send(self, request: ClientRequest) -> UpstreamResponse:
        """Forward a request and return the response once its head has arrived.

        The request is never sent twice. Raises UpstreamUnreachable or UpstreamTimeout.
        """

    async def aclose(self) -> None:
        """Close all connections."""
