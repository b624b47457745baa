"""Sums that all proxies on a Valkey server share: the fields of one hash, changed by HINCRBY."""

from collections.abc import Mapping

from app.stores.valkey.client import Server, checked
from app.stores.valkey.keys import TOTALS


async def add_totals(server: Server, amounts: Mapping[str, int]) -> None:
    """Add each amount to the sum of the same name. If a reply is an error, raise that error."""
    replies = await server.call(*(("HINCRBY", TOTALS, name, n) for name, n in amounts.items()))
    for reply in replies:
        checked(reply)


async def read_totals(server: Server) -> dict[str, int]:
    """Return all sums by name."""
    (told,) = await server.call(("HGETALL", TOTALS))
    flat = checked(told)
    pairs = zip(flat[::2], flat[1::2], strict=True)
    return {name.decode(errors="replace"): int(value) for name, value in pairs}
