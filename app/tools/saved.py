"""Sums of what the hits of a replayed log would have saved: tokens, dollars and seconds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from app.core.ports import Prices
from app.dialects.strict_json import JsonObject
from app.tools.exchange import Exchange
from app.tools.statistics import table

_A_DOLLAR, _MILLIONTHS = 1_000_000_000, 6


@dataclass(slots=True)
class Savings:
    """What some hits would have saved; `unpriced` of them have no known price.

    `input`, `output`: tokens. `nanodollars`: billionths of a dollar.
    """

    hits: int = 0
    unpriced: int = 0
    input: int = 0
    output: int = 0
    nanodollars: int = 0
    seconds: float = 0.0

    def add(self, exchange: Exchange, prices: Prices, *, is_stale: bool) -> None:
        """Add a hit: what the log's own answer has taken; of a stale hit, its time alone.

        The upstream is asked behind a stale hit.
        """
        usage = None if is_stale else exchange.usage
        price = _price(exchange, prices) if usage else None
        self.hits += 1
        self.unpriced += price is None
        self.nanodollars += price or 0
        self.seconds += exchange.seconds or 0.0
        if usage:
            self.input += usage.input
            self.output += usage.output

    @property
    def usd(self) -> float:
        """The dollars of the hits whose price is known."""
        return round(self.nanodollars / _A_DOLLAR, _MILLIONTHS)

    def document(self) -> JsonObject:
        """Return the figures by the names that `GET /cache/stats` gives them."""
        return {
            "hits": self.hits,
            "unpriced_hits": self.unpriced,
            "input_tokens": self.input,
            "output_tokens": self.output,
            "usd": self.usd,
            "seconds": round(self.seconds, 3),
        }


def total(parts: Mapping[str, Savings]) -> Savings:
    """Return the sum of the savings of some models."""
    sums = (sum(getattr(part, f.name) for part in parts.values()) for f in fields(Savings))
    return Savings(*sums)


def by_model(parts: Mapping[str, Savings]) -> str:
    """Return a table of savings by model, those with the most dollars first."""
    rows: list[Sequence[str]] = [
        [
            model,
            str(part.hits),
            "-" if part.unpriced == part.hits else f"${part.usd:.4f}",
            str(part.unpriced),
            str(part.input),
            str(part.output),
            f"{part.seconds:.1f}",
        ]
        for model, part in sorted(parts.items(), key=lambda pair: -pair[1].nanodollars)
    ]
    head = ("model", "hits", "saved", "without price", "tokens in", "tokens out", "seconds")
    return table(head, rows)


def _price(exchange: Exchange, prices: Prices) -> int | None:
    """Return an answer's price by the name that the client gave, else by the one it is sold by."""
    if exchange.usage is None:
        return None
    price = prices.nanodollars(exchange.model, exchange.usage)
    if price is None and exchange.sold_as:
        price = prices.nanodollars(exchange.sold_as, exchange.usage)
    return price
