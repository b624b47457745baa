"""Limits the number of open connections for each address of a client."""

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum, auto

from app.server.deadlines import Patience
from app.settings import Settings


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The limits for the connections of each client.

    `per_client`: the greatest number of open connections; 0 means no limit.
    `patience`: the seconds that a client may take for each step of a request.
    """

    per_client: int = 0
    patience: Patience = field(default_factory=Patience)

    @classmethod
    def of(cls, settings: Settings) -> "ConnectionLimits":
        """Return the limits that the settings contain."""
        patience = Patience(settings.head_timeout, settings.client_timeout, settings.idle_timeout)
        return cls(settings.max_connections, patience)


class Admission(Enum):
    """What happens to a new connection: it is served, refused with an error, or closed at once."""

    OPEN = auto()
    REFUSED = auto()  # it stays open until the client has read the error response
    CUT = auto()


class Connections:
    """Counts the open connections of each address.

    `most` is the greatest number of connections that are served for one address; 0 means no limit.
    In addition, up to `most` refused connections of an address may stay open, so that the client
    can read the error.
    """

    def __init__(self, most: int = 0) -> None:
        self._most = most
        self._known = Counter[tuple[str, Admission]]()

    def enter(self, address: str) -> Admission:
        """Count a new connection from an address, and return its Admission.

        Call `leave` when the connection ends.
        """
        kinds = (Admission.OPEN, Admission.REFUSED) if self._most else ()
        default = Admission.CUT if self._most else Admission.OPEN
        free = (kind for kind in kinds if self._known[address, kind] < self._most)
        admission = next(free, default)
        self._known[address, admission] += 1
        return admission

    def leave(self, address: str, admission: Admission) -> None:
        """Stop counting a connection. `admission` is the value that `enter` returned for it."""
        self._known[address, admission] -= 1
        if not self._known[address, admission]:
            del self._known[address, admission]
