"""Leases in Valkey. A lease is a key that expires by itself; its value is the holder's token."""

import math

from app.stores.valkey.client import Server, checked
from app.stores.valkey.keys import Keys

# Scripts, because a holder whose lease has expired must not change its successor's lease. The
# upkeep uses EVAL too, so no further permission is needed; scripts with one key work in a cluster.
RENEW = """#!lua
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
"""A script that sets a key's lifetime to `ARGV[2]` milliseconds, if the value is `ARGV[1]`."""

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
        """Take the lease `name` for `seconds` if it is free, and return `token`.

        If the lease is not free, return the token of its holder.
        """
        key = self._keys.flight(name)
        taken = ("SET", key, token, "NX", "GET", "PX", _milliseconds(seconds))
        (holder,) = await self._server.call(taken)
        return token if checked(holder) is None else bytes(holder).decode(errors="replace")

    async def renew(self, name: str, token: str, seconds: float) -> bool:
        """Extend the lease `name` if its holder is `token`. Return whether it was extended.

        An extended lease ends `seconds` after this call.
        """
        key = self._keys.flight(name)
        (renewed,) = await self._server.call(("EVAL", RENEW, 1, key, token, _milliseconds(seconds)))
        return bool(checked(renewed))

    async def release(self, name: str, token: str) -> None:
        """Release the lease `name` if `token` still holds it."""
        (reply,) = await self._server.call(("EVAL", _RELEASE, 1, self._keys.flight(name), token))
        checked(reply)

    async def aclose(self) -> None:
        """Disconnect."""
        await self._server.aclose()


def _milliseconds(seconds: float) -> int:
    return math.ceil(seconds * 1000)
