"""Leases in Valkey: one key each, which holds the token of its holder and runs out by itself."""

import math

from app.stores.valkey.client import Server, checked
from app.stores.valkey.keys import Keys

# A holder that was away for longer than its lease must not touch its successor's. EVAL is what the
# upkeep needs too, so no further right; a script of one key runs in a cluster as well.
RENEW = """#!lua
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
"""A script that lets a key last for `ARGV[2]` milliseconds more if it holds `ARGV[1]`."""

_RELEASE = """#!lua
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""


class ValkeyLeases:
    """Leases of upstream requests, shared by all proxies that use the same embedding model."""

    def __init__(self, server: Server, keys: Keys) -> None:
        self._server = server
        self._keys = keys

    async def take(self, name: str, token: str, seconds: float) -> str:
        """Take a lease that is free; return the token of who holds it now."""
        key = self._keys.flight(name)
        taken = ("SET", key, token, "NX", "GET", "PX", _milliseconds(seconds))
        (holder,) = await self._server.call(taken)
        return token if checked(holder) is None else bytes(holder).decode(errors="replace")

    async def renew(self, name: str, token: str, seconds: float) -> bool:
        """Let a lease last for so long from now; return whether it still was ours."""
        key = self._keys.flight(name)
        (renewed,) = await self._server.call(("EVAL", RENEW, 1, key, token, _milliseconds(seconds)))
        return bool(checked(renewed))

    async def release(self, name: str, token: str) -> None:
        """Release a lease, if it still is ours."""
        (reply,) = await self._server.call(("EVAL", _RELEASE, 1, self._keys.flight(name), token))
        checked(reply)

    async def aclose(self) -> None:
        """Disconnect."""
        await self._server.aclose()


def _milliseconds(seconds: float) -> int:
    return math.ceil(seconds * 1000)
