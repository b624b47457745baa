"""How many connections each client has open, and what becomes of one more."""

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum, auto

from app.server.deadlines import Patience
from app.settings import Settings


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """How many connections each client may have open, 0 for any number, and how slow it may be."""

    per_client: int = 0
    patience: Patience = field(default_factory=Patience)

    @classmethod
    def of(cls, settings: Settings) -> "ConnectionLimits":
        """Return what the settings say."""
        patience = Patience(settings.head_timeout, settings.client_timeout, settings.idle_timeout)
        return cls(settings.max_connections, patience)


class Admission(Enum):
    """What becomes of a new connection."""

    OPEN = auto()
    REFUSED = auto()  # it is told why, and stays until it has read that
    CUT = auto()


class Connections:
    """The connections by address, of which each may have `most` open; 0: any number.

    As many more may be reading why they are refused; they keep nobody out.
    """

    def __init__(self, most: int = 0) -> None:
        self._most = most
        self._known = Counter[tuple[str, Admission]]()

    def enter(self, address: str) -> Admission:
        """Count a new connection, and say what becomes of it; `leave` must follow."""
        kinds = (Admission.OPEN, Admission.REFUSED) if self._most else ()
        default = Admission.CUT if self._most else Admission.OPEN
        free = (kind for kind in kinds if self._known[address, kind] < self._most)
        admission = next(free, default)
        self._known[address, admission] += 1
        return admission

    def leave(self, address: str, admission: Admission) -> None:
        """Take note of the end of a connection that was let in so."""
        self._known[address, admission] -= 1
        if not self._known[address, admission]:
            del self._known[address, admission]
