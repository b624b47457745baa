"""The ports: the interfaces through which the engine uses stores, models and the upstream.

An implementation may raise any exception and may take any time: the engine sets timeouts, catches
failures and counts them. An implementation that refuses work but has not failed should raise
Declined, for example if it is overloaded. An implementation that has failed should raise
DependencyFailed with a text that may be logged.
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
    """Keeps and finds stored responses. Each is kept while it is fresh or may be served stale.

    This port has the methods that are needed to answer clients' requests.
    """

    @property
    def epoch(self) -> str:
        """The current epoch, as far as this process knows.

        Each purge replaces the epoch. An answer that was requested from the upstream before the
        purge carries the old epoch, so it is not stored. Entries already stored in the same era
        (`epochs.py`) stay.
        """

    async def get(self, digest: str) -> StoredResponse | None:
        """Return the response stored under the exact key `digest`; None if there is none."""

    async def nearest(
        self,
        partition: str,
        embedding: Embedding,
        k: int,
        max_distance: float,
    ) -> Sequence[Candidate]:
        """Return up to `k` responses of a partition, the nearest first.

        The cosine distance of their questions to `embedding` is at most `max_distance`.
        """

    async def put(self, stored: StoredResponse, embedding: Embedding | None) -> None:
        """Store a response. It replaces any older response with the same exact key.

        If `embedding` is None, the response can be found only by its exact key.
        """

    def use(self, digest: str) -> None:
        """Record that an entry has answered a request.

        A store may use this information to choose which entries to evict.
        """

    async def aclose(self) -> None:
        """Write pending data and release all resources."""


class StoreOperations(Protocol):
    """The methods of a store that only operators' requests need."""

    async def delete(self, *digests: str) -> int:
        """Remove the responses stored under these exact keys; return how many were removed."""

    async def mark(self, stored: StoredResponse, standing: Standing) -> bool:
        """Set how far an entry is trusted, unless the entry has changed since it was read.

        `stored` is the entry as it was read. Return False if nothing was set because the entry has
        changed; otherwise True.
        """

    async def amend(self, stored: StoredResponse, amended: StoredResponse) -> bool:
        """Write an entry's `is_disputed`, `askers` and `is_pinned`, unless the entry has changed.

        `stored` is the entry as it was read; `amended` has the new values. Other fields stay.
        Return False if nothing was written because the entry has changed; otherwise True.
        """

    async def scan(self, cursor: str, limit: int, selector: Selector = EVERYTHING) -> Page:
        """Return a page of up to `limit` stored responses that `selector` selects.

        For the first page `cursor` is empty; for any other page it is the cursor of the previous
        page. Entries stored or removed during the scan may be missing; all others are returned
        exactly once. A short or empty page may be followed by other pages.
        """

    async def embeddings_of(self, digests: Sequence[str]) -> Sequence[Embedding | None]:
        """Return the embedding of the stored question for each exact key in `digests`, in order.

        If no embedding is stored for an exact key, the result contains None in its place.
        """

    async def refresh_epoch(self) -> None:
        """Read the current epoch from the store, so that the property `epoch` is up to date."""

    async def advance_epoch(self) -> None:
        """Begin a new turn of the current era (`epochs.py`).

        Entries already stored stay. If an answer was requested from the upstream before this call
        but is not stored yet, it will not be stored.
        """

    async def purge(self) -> int:
        """Remove all answers and embeddings; return how many entries were removed.

        After this method has returned, none of these entries is served.
        """

    async def count(self) -> Counts:
        """Return how many answers and embeddings are stored."""

    async def facts(self) -> Mapping[str, object]:
        """Return facts about this store, by name, to show to an operator.

        The values can be written as JSON.
        """


class EmbeddingStore(Protocol):
    """Keeps the upstream's answers to embeddings requests, one entry per input."""

    @property
    def epoch(self) -> str:
        """The current epoch. It is the same as the epoch of the Store."""

    async def get_embeddings(self, digests: Sequence[str]) -> Sequence[StoredEmbedding | None]:
        """Return the stored embedding, or None, for each exact key in `digests`, in order."""

    async def put_embeddings(self, embeddings: Sequence[StoredEmbedding]) -> None:
        """Store embeddings. They replace older embeddings with the same exact keys."""

    async def scan_embeddings(
        self, cursor: str, limit: int, caller: str
    ) -> tuple[Sequence[str], str]:
        """Find the embeddings that were fetched for a caller with the name `caller`.

        Examine about `limit` embeddings. Return the exact keys of those that were fetched for the
        caller, and the next cursor. The cursors are used as in `StoreOperations.scan`.
        """

    async def delete_embeddings(self, *digests: str) -> int:
        """Remove the embeddings stored under these exact keys; return how many were removed."""


class Totals(Protocol):
    """Keeps named sums of whole numbers. A purge does not remove the sums."""

    @property
    def totals_last(self) -> Keeping:
        """Where the sums are kept: in this process, in a file, or in a server of the fleet."""

    async def add_totals(self, amounts: Mapping[str, int]) -> None:
        """Add each amount to the sum of the same name. A new sum begins at 0."""

    async def totals(self) -> Mapping[str, int]:
        """Return all sums, by name."""


class WholeStore(Store, StoreOperations, EmbeddingStore, Totals, Protocol):
    """A store of responses, embeddings and sums. Responses and embeddings share one epoch."""


class Prices(Protocol):
    """Knows the prices of models."""

    def nanodollars(self, model: str, usage: Usage) -> int | None:
        """Return the price of an answer in billionths of a dollar; None if the price is unknown."""


class Leases(Protocol):
    """Leases by which one process of a fleet is chosen to ask the upstream for an answer.

    `name` is the name of a lease. `token` identifies the process that calls the method. A lease
    expires `seconds` seconds after a process has taken or renewed it. If another process takes the
    lease after that, the first process can neither renew nor release it.
    """

    async def take(self, name: str, token: str, seconds: float) -> str:
        """Take the lease if it is free.

        Return the token of the process that now holds the lease.
        """

    async def renew(self, name: str, token: str, seconds: float) -> bool:
        """Make the lease expire `seconds` seconds from now, if `token` holds it.

        Return whether the lease was extended.
        """

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
        """Return the embedding of a text: shape (dimensions,), unit length.

        Return None if the text is too long for the model or contains an unknown token. The
        embedding would represent only a part of such a text, and so could equal another text's.

        `credentials` are the caller's credential headers. They are used only if the embedder is the
        upstream, which receives these headers anyway.
        """

    async def aclose(self) -> None:
        """Release all resources."""


class Verifier(Protocol):
    """Reads two questions together and estimates how likely it is that one answer serves both."""

    @property
    def calibration(self) -> Calibration:
        """The calibration of this verifier for the embedder in use."""

    async def verify(self, asked: str, candidates: Sequence[StoredText]) -> Sequence[float]:
        """Return one probability, 0 to 1, for each candidate, in order.

        It is the probability that the answer of the candidate serves `asked`. It is 0 if the
        candidate's question and `asked` together are too long for the model.
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
        """Release the connection. If the body has not ended, close the connection.

        A second call does nothing.
        """


class Upstream(Protocol):
    """The server whose answers are stored."""

    async def send(self, request: ClientRequest) -> UpstreamResponse:
        """Forward a request and return the response once the head of the response has arrived.

        The request is never sent twice. Raises UpstreamUnreachable or UpstreamTimeout.
        """

    async def aclose(self) -> None:
        """Close all connections."""
