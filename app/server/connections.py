"""Limits the number of connections that each client address may have open."""

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum, auto

from app.server.deadlines import Patience
from app.settings import Settings


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The most connections per client (0: any number), and how slow a client may be."""

    per_client: int = 0
    patience: Patience = field(default_factory=Patience)

    @classmethod
    def of(cls, settings: Settings) -> "ConnectionLimits":
        """Return the limits in the settings."""
        patience = Patience(settings.head_timeout, settings.client_timeout, settings.idle_timeout)
        return cls(settings.max_connections, patience)


class Admission(Enum):
    """What happens to a new connection: served, refused with an answer, or closed at once."""

    OPEN = auto()
    REFUSED = auto()  # it gets an error response, and stays open until that was read
    CUT = auto()


class Connections:
    """Counts the open connections of each address, which may have up to `most` (0: any number).

    Up to `most` refused connections may also stay open, until their clients have read the error.
    They are counted separately.
    """

    def __init__(self, most: int = 0) -> None:
        self._most = most
        self._known = Counter[tuple[str, Admission]]()

    def enter(self, address: str) -> Admission:
        """Count a new connection and return what happens to it; call `leave` when it ends."""
        kinds = (Admission.OPEN, Admission.REFUSED) if self._most else ()
        default = Admission.CUT if self._most else Admission.OPEN
        free = (kind for kind in kinds if self._known[address, kind] < self._most)
        admission = next(free, default)
        self._known[address, admission] += 1
        return admission

    def leave(self, address: str, admission: Admission) -> None:
        """Note the end of a connection; `admission` is what `enter` returned for it."""
        self._known[address, admission] -= 1
        if not self._known[address, admission]:
            del self._known[address, admission]
