"""Sums of what the hits of a replayed log would have saved: tokens, dollars and seconds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from app.core.models import Usage
from app.core.money import dollars
from app.core.ports import Prices
from app.dialects.strict_json import JsonObject
from app.tools.exchange import Exchange
from app.tools.statistics import table


@dataclass(slots=True)
class Savings:
    """The tokens, dollars and seconds that some hits would have saved.

    `unpriced`: the number of hits whose price is not known. `input`, `output`: the numbers of
    tokens. `nanodollars`: billionths of a dollar. `seconds`: the time that the answers took in the
    log.
    """

    hits: int = 0
    unpriced: int = 0
    input: int = 0
    output: int = 0
    nanodollars: int = 0
    seconds: float = 0.0

    def add(self, exchange: Exchange, prices: Prices, *, is_stale: bool) -> None:
        """Add the savings of a hit: the tokens, price and time that its exchange took in the log.

        If the hit is stale, only the time is added, because a revalidation still asks the
        upstream.
        """
        usage = None if is_stale else exchange.usage
        price = _price(exchange, usage, prices) if usage else None
        self.hits += 1
        self.unpriced += price is None
        self.nanodollars += price or 0
        self.seconds += exchange.seconds or 0.0
        if usage:
            self.input += usage.input
            self.output += usage.output

    @property
    def usd(self) -> float:
        """The dollars that were saved by the hits whose price is known."""
        return dollars(self.nanodollars)

    def document(self) -> JsonObject:
        """Return the figures under the names that `GET /cache/stats` uses."""
        return {
            "hits": self.hits,
            "unpriced_hits": self.unpriced,
            "input_tokens": self.input,
            "output_tokens": self.output,
            "usd": self.usd,
            "seconds": round(self.seconds, 3),
        }


def total(parts: Mapping[str, Savings]) -> Savings:
    """Return the sum of the savings of all models. `parts` has the savings of each model."""
    sums = (sum(getattr(part, f.name) for part in parts.values()) for f in fields(Savings))
    return Savings(*sums)


def by_model(parts: Mapping[str, Savings]) -> str:
    """Return the savings of each model as a table. The greatest sum in dollars comes first."""
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


def _price(exchange: Exchange, usage: Usage, prices: Prices) -> int | None:
    """Return the price of an exchange's answer in billionths of a dollar; None if it is not known.

    The price is looked up by the client's name for the model. If that name has no price, the price
    is looked up by the provider's name for the model.
    """
    price = prices.nanodollars(exchange.model, usage)
    if price is None and exchange.sold_as:
        price = prices.nanodollars(exchange.sold_as, usage)
    return price
