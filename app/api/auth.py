"""Checks the keys that callers must send, in constant time."""

import hashlib
import hmac
from collections.abc import Sequence

from app.core.models import Header
from app.rules.sharing import presented_keys


class ApiKeys:
    """A set of API keys. In a condition, an empty set counts as false."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = [_digest(key.encode()) for key in keys]

    def __bool__(self) -> bool:
        return bool(self._keys)

    def knows(self, headers: Sequence[Header]) -> bool:
        """Whether a request's headers contain one of the keys."""
        known = False
        for presented in presented_keys(headers):
            digest = _digest(presented)
            # Compare with every key, even after a match, so that the time reveals nothing.
            for key in self._keys:
                known |= hmac.compare_digest(digest, key)
        return known


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
