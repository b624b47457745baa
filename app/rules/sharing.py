"""What callers who share all answers may do to each other's, and who counts as one of them."""

import hashlib
from collections.abc import Sequence

from app.core.models import Fullness, Header, StoredResponse
from app.rules.headers import credentials
from app.rules.key import Isolation, KeyRules, digest_of

_SHOWN = 16  # hex digits of a credential's digest


def asker_of(headers: Sequence[Header], rules: KeyRules) -> str:
    """Name the credential of a request where all share answers, else nobody.

    Where callers need a key, it is theirs that counts, whatever else they send: nobody is many by
    making credentials up.
    """
    if rules.isolation is not Isolation.SHARED:
        return ""
    told: Sequence[object] = [value.decode("latin-1") for _, value in credentials(headers)]
    if rules.api_keys:
        known = set(map(digest_of_key, presented_keys(headers)))
        told = sorted(digest.hex() for digest in known & rules.api_keys)[:1]
    return digest_of(told, b"asker", rules.secret)[:_SHOWN]


def digest_of_key(key: bytes) -> bytes:
    """Return what KeyRules keep of a key that callers need."""
    return hashlib.sha256(key).digest()


def presented_keys(headers: Sequence[Header]) -> list[bytes]:
    """Return the keys that a request presents."""
    keys = []
    for name, value in headers:
        if name in {b"api-key", b"x-api-key"}:
            keys.append(value.strip())
        elif name == b"authorization":
            scheme, _, key = value.strip().partition(b" ")
            if scheme.lower() == b"bearer":
                keys.append(key.strip())
    return keys


def askers_with(stored: StoredResponse | None, asker: str, share_after: int) -> frozenset[str]:
    """Return who has asked the very same, one more included: no more than have to."""
    known = stored.askers if stored else frozenset[str]()
    is_new = asker and len(known) < share_after
    return known | {asker} if is_new else known


def answers_by_meaning(stored: StoredResponse, asker: str, share_after: int) -> bool:
    """Whether an entry may answer what is not quite its own question.

    Where all share answers, only one that enough others have asked for themselves, or that an
    operator has pinned or imported: one caller alone plants nothing. His own may answer himself.
    """
    if not asker or stored.is_pinned or asker in stored.askers:
        return True
    return len(stored.askers) >= share_after


def stays_for_others(stored: StoredResponse | None, entitled: Fullness, now: float) -> bool:
    """Whether the answer to the very same request is fresh, and as full as a new one would be.

    Then it stays, whatever made a request pass it over (`no-cache`, `max-age`, a tag of its own):
    else one could ask until an answer is as he likes it, and have all others served that one.
    """
    return stored is not None and stored.is_fresh(now) and stored.fullness >= entitled
