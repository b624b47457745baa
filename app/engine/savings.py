"""Computes and counts the savings of hits: the tokens, time and price of the stored answers."""

from collections.abc import Iterable

from app.core.accounts import Accounts
from app.core.cache_status import CacheStatus, Outcome, Saved
from app.core.models import StoredResponse, Usage
from app.core.recent import Recent
from app.dialects.usage import usage_in

_KNOWN = 4096

_Taken = tuple[Usage | None, int | None]


class Savings:
    """Computes the savings of hits, and counts savings and costs. Caches the results by entry."""

    def __init__(self, accounts: Accounts) -> None:
        self.accounts = accounts
        self._known: Recent[tuple[str, float], _Taken] = Recent(_KNOWN)

    def of(self, stored: StoredResponse, status: CacheStatus) -> Saved:
        """Return the savings of a hit: tokens, price and time. A stale hit saves only time."""
        if status.outcome is Outcome.STALE:
            return Saved(seconds=stored.seconds)
        name = (stored.id, stored.stored_at)
        if (known := self._known.get(name)) is None:
            usage = usage_in(stored.content)
            price = self.accounts.price(stored.model, usage) if usage else None
            known = usage, price
            self._known.keep(name, known)
        return Saved(*known, stored.seconds)

    def of_embeddings(self, model: str, tokens: Iterable[float | None]) -> Saved:
        """Return the savings of a hit of an embeddings request: tokens and price.

        `tokens` has the number of tokens of each input, or None if the number is unknown.
        """
        known = [count for count in tokens if count is not None]
        usage = Usage(round(sum(known))) if known else None
        return Saved(usage, self.accounts.price(model, usage) if usage else None)

    def note(self, model: str, saved: Saved) -> None:
        """Count the savings of a served hit. `model` is the name of the answer's model."""
        self.accounts.saved(model, saved)

    def note_kept_back(self, stored: StoredResponse, status: CacheStatus) -> None:
        """Count the savings that a held-back hit would have brought."""
        self.accounts.would_save(stored.model, self.of(stored, status))

    def note_audit(self, model: str, answer: bytes) -> None:
        """Count the cost of an audit: the tokens and price of the upstream's answer `answer`."""
        self.accounts.spent("audit", model, usage_in(answer))
