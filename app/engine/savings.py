"""What a hit has saved: what its own answer took."""

from collections.abc import Iterable

from app.core.accounts import Accounts
from app.core.cache_status import CacheStatus, Outcome, Saved
from app.core.models import StoredResponse, Usage
from app.core.recent import Recent
from app.dialects.usage import usage_in

_KNOWN = 4096

_Taken = tuple[Usage | None, int | None]


class Savings:
    """Looks up tokens and prices, once for each entry, and adds them up."""

    def __init__(self, accounts: Accounts) -> None:
        self.accounts = accounts
        self._known: Recent[tuple[str, float], _Taken] = Recent(_KNOWN)

    def of(self, stored: StoredResponse, status: CacheStatus) -> Saved:
        """Return what a hit saves."""
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
        """Return what a hit saves whose inputs took so many tokens each."""
        known = [count for count in tokens if count is not None]
        usage = Usage(round(sum(known))) if known else None
        return Saved(usage, self.accounts.price(model, usage) if usage else None)

    def note(self, model: str, saved: Saved) -> None:
        """Add what a hit has saved that was served."""
        self.accounts.saved(model, saved)

    def note_kept_back(self, stored: StoredResponse, status: CacheStatus) -> None:
        """Add what a hit would have saved that was kept back."""
        self.accounts.would_save(stored.model, self.of(stored, status))

    def note_audit(self, model: str, answer: bytes) -> None:
        """Add what an audit has cost."""
        self.accounts.spent("audit", model, usage_in(answer))
