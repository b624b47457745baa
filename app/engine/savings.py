"""The savings of a hit: the tokens, time and price of the stored answer."""

from collections.abc import Iterable

from app.core.accounts import Accounts
from app.core.cache_status import CacheStatus, Outcome, Saved
from app.core.models import StoredResponse, Usage
from app.core.recent import Recent
from app.dialects.usage import usage_in

_KNOWN = 4096

_Taken = tuple[Usage | None, int | None]


class Savings:
    """Finds an entry's tokens and price, which are cached, and counts savings and costs."""

    def __init__(self, accounts: Accounts) -> None:
        self.accounts = accounts
        self._known: Recent[tuple[str, float], _Taken] = Recent(_KNOWN)

    def of(self, stored: StoredResponse, status: CacheStatus) -> Saved:
        """Return the savings of a hit: tokens, price and time; only time if the hit is stale."""
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
        """Return the savings of an embeddings hit; `tokens` are the inputs' token counts."""
        known = [count for count in tokens if count is not None]
        usage = Usage(round(sum(known))) if known else None
        return Saved(usage, self.accounts.price(model, usage) if usage else None)

    def note(self, model: str, saved: Saved) -> None:
        """Count the savings of a served hit."""
        self.accounts.saved(model, saved)

    def note_kept_back(self, stored: StoredResponse, status: CacheStatus) -> None:
        """Count what a hit that was held back would have saved."""
        self.accounts.would_save(stored.model, self.of(stored, status))

    def note_audit(self, model: str, answer: bytes) -> None:
        """Count the cost of an audit."""
        self.accounts.spent("audit", model, usage_in(answer))
