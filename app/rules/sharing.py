"""Protects callers who share all answers: no single caller can choose the answer for others."""

import hashlib
from collections.abc import Sequence

from app.core.models import Fullness, Header, StoredResponse
from app.rules.headers import credentials
from app.rules.key import Isolation, KeyRules, digest_of

_SHOWN = 16  # hex digits of a credential's digest


def asker_of(headers: Sequence[Header], rules: KeyRules) -> str:
    """Return a digest of a request's credentials if all callers share answers; else empty.

    If callers need a key, the digest is made from the valid key only. Other credentials do not
    change it. So nobody can use invented credentials to look like several callers.
    """
    if rules.isolation is not Isolation.SHARED:
        return ""
    told: Sequence[object] = [value.decode("latin-1") for _, value in credentials(headers)]
    if rules.api_keys:
        known = set(map(digest_of_key, presented_keys(headers)))
        told = sorted(digest.hex() for digest in known & rules.api_keys)[:1]
    return digest_of(told, b"asker", rules.secret)[:_SHOWN]


def digest_of_key(key: bytes) -> bytes:
    """Return the SHA-256 of a key as raw bytes. `KeyRules.api_keys` contains such digests."""
    return hashlib.sha256(key).digest()


def presented_keys(headers: Sequence[Header]) -> list[bytes]:
    """Return the API keys in a request's headers."""
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
    """Return the askers of a stored response, together with `asker`.

    Each asker is a digest of credentials. `asker` is not added if it is empty, or if there are
    already `share_after` askers.
    """
    known = stored.askers if stored else frozenset[str]()
    is_new = asker and len(known) < share_after
    return known | {asker} if is_new else known


def answers_by_meaning(stored: StoredResponse, asker: str, share_after: int) -> bool:
    """Whether an entry may be served by meaning to `asker`.

    `asker` is empty unless all callers share answers. If `asker` is empty, the result is True.
    Otherwise one of three conditions must be met: `share_after` callers have sent the entry's exact
    request, `asker` has sent this request, or an operator has pinned or imported the entry. So no
    single caller can choose the answer for others.
    """
    if not asker or stored.is_pinned or asker in stored.askers:
        return True
    return len(stored.askers) >= share_after


def stays_for_others(stored: StoredResponse | None, entitled: Fullness, now: float) -> bool:
    """Whether a stored answer must not be replaced by a new answer.

    A stored answer stays if it is fresh and has at least as much of the field `usage` as the new
    answer would have (`entitled`). It stays even if the request did not accept it because of
    `no-cache`, `max-age` or a tag. Otherwise one caller could repeat a request until they like the
    answer, and all other callers would get this answer.
    """
    return stored is not None and stored.is_fresh(now) and stored.fullness >= entitled
