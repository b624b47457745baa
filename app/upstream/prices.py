"""Prices of answers, from the operator's own file or from a list that is installed with Reprise.

The list comes from the package genai-prices (https://github.com/pydantic/genai-prices). Nothing is
downloaded.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from genai_prices import Usage as PricedUsage
from genai_prices import calc_price

from app.core.errors import ConfigurationError
from app.core.models import Usage
from app.core.money import A_DOLLAR
from app.core.recent import Recent
from app.core.toml_file import read_toml

_KNOWN = 1000
_A_MILLION = 1_000_000
_FIELDS = frozenset({"input", "output", "cached", "written"})
_SETTING = "REPRISE_PRICES"


@dataclass(frozen=True, slots=True)
class Rates:
    """The prices of a model, in dollars per million tokens.

    `cached` is the price of input tokens that are read from the provider's prompt cache. `written`
    is the price of input tokens that are written to that cache. If a price is None, tokens of
    its kind cost as much as other input tokens.
    """

    input: float
    output: float = 0.0
    cached: float | None = None
    written: float | None = None

    def nanodollars(self, usage: Usage) -> int:
        """Return the price of an answer with this usage, in billionths of a dollar."""
        cached = self.input if self.cached is None else self.cached
        written = self.input if self.written is None else self.written
        fresh = max(0, usage.input - usage.cached - usage.written)
        dollars = fresh * self.input + usage.cached * cached + usage.written * written
        return round((dollars + usage.output * self.output) * A_DOLLAR / _A_MILLION)


class ListPrices:
    """Prices of models at the server `url`.

    `own` maps models to the operator's rates. These rates take precedence over the list. A name in
    `own` that ends in `*` stands for all models whose names begin with the part before the `*`. The
    list may have no price for a model at this server, for example because the server is a gateway.
    In that case, the price of the model's vendor is used.
    """

    def __init__(self, url: str, own: Mapping[str, Rates]) -> None:
        self._url = url
        self._own = own
        self._unknown: Recent[str, bool] = Recent(_KNOWN)
        self.nanodollars("", Usage(0))  # reads the list now, not while a client waits

    def nanodollars(self, model: str, usage: Usage) -> int | None:
        """Return the price of an answer in billionths of a dollar; None if the price is unknown."""
        if (rates := self._rates(model)) is not None:
            return rates.nanodollars(usage)
        if self._unknown.get(model):
            return None
        priced = PricedUsage(
            input_tokens=usage.input,
            output_tokens=usage.output,
            cache_read_tokens=usage.cached,
            cache_write_tokens=usage.written,
        )
        maker, _, name = model.rpartition("/")
        seller: dict[str, str]
        for asked, seller in (
            (model, {"provider_api_url": self._url}),
            (model, {}),
            (name, {"provider_id": maker} if maker else {}),
        ):
            try:
                found = calc_price(priced, asked, **seller)  # type: ignore[call-overload]
            except (LookupError, ValueError):
                continue
            return int(found.total_price * A_DOLLAR)
        self._unknown.keep(model, value=True)
        return None

    def _rates(self, model: str) -> Rates | None:
        if (rates := self._own.get(model)) is not None:
            return rates
        begins = [n for n in self._own if n.endswith("*") and model.startswith(n[:-1])]
        return self._own[max(begins, key=len)] if begins else None


def read_prices(path: str) -> dict[str, Rates]:
    """Return a dict from models to the rates in an operator's file; empty if `path` is empty.

    Raises ConfigurationError if the file cannot be read or is invalid.
    """
    if not path:
        return {}
    document = read_toml(path, f"{_SETTING}={path}")
    models = document.get("models")
    if document.keys() != {"models"} or not isinstance(models, dict):
        raise ConfigurationError(f'{_SETTING}={path} must have tables such as [models."gpt-4o"]')
    return {model: _read_rates(path, model, told) for model, told in models.items()}


def _read_rates(path: str, model: str, told: Any) -> Rates:
    is_table = isinstance(told, dict) and "input" in told and told.keys() <= _FIELDS
    if not is_table or not all(_is_price(value) for value in told.values()):
        raise ConfigurationError(
            f"{_SETTING}={path}: {model} must have input, and may have output, cached and written, "
            "in dollars per million tokens"
        )
    return Rates(**told)


def _is_price(value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 <= value <= _A_MILLION  # type: ignore[operator]
