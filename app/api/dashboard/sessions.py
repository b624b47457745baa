"""The dashboard's sessions: signed, so that each worker can check them without storing them."""

import hashlib
import hmac
import re
import secrets

from app.core.models import Clock
from app.core.recent import Recent

LIFETIME = 28_800  # seconds: a working day
_ENDED = 1000  # sessions that a logout has ended

_SESSION = re.compile(r"([0-9a-f]{1,12})\.[0-9a-f]{32}\.([0-9a-f]{64})")


class Sessions:
    """Opens and recognises sessions, which are signed with a key derived from the admin token.

    A new admin token therefore ends all sessions. A restart of the proxy ends no session. After a
    logout, only the process that handled the logout refuses the session. The other processes accept
    the session until it expires. `clock` returns seconds since 1970.
    """

    def __init__(self, token: str, clock: Clock) -> None:
        self._key = hashlib.sha256(b"reprise dashboard\0" + token.encode()).digest()
        self._clock = clock
        self._ended: Recent[str, bool] = Recent(_ENDED)

    def new(self) -> str:
        """Open a session, and return the value of its cookie."""
        named = f"{int(self._clock()) + LIFETIME:x}.{secrets.token_hex(16)}"
        return f"{named}.{self._mac('session', named)}"

    def holds(self, session: str) -> bool:
        """Whether a session has a valid signature, has not expired and has not been ended."""
        if (match := _SESSION.fullmatch(session)) is None:
            return False
        named = session.rpartition(".")[0]
        is_ours = hmac.compare_digest(match[2], self._mac("session", named))
        is_over = int(match[1], 16) <= self._clock() or self._ended.get(session)
        return is_ours and not is_over

    def end(self, session: str) -> None:
        """End a session, so that this process refuses all copies of the cookie from now on."""
        self._ended.keep(session, True)

    def csrf_token(self, session: str) -> str:
        """Return the CSRF token of a session. Requests that change something must send it."""
        return self._mac("csrf", session)

    def _mac(self, purpose: str, text: str) -> str:
        return hmac.new(self._key, f"{purpose} {text}".encode(), "sha256").hexdigest()
