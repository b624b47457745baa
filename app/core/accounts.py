"""Adds up the savings of hits and the costs of the cache's own requests.

The amounts are added to the Prometheus metrics and to a Tally. The sums in a Tally are stored, so
they are not lost when the process ends. They are whole numbers of tokens, of milliseconds, and of
billionths of a dollar.
"""

import functools
from typing import Literal

from app.core.cache_status import Saved
from app.core.metrics import Metrics
from app.core.models import Usage
from app.core.money import A_DOLLAR
from app.core.ports import Prices

Purpose = Literal["embedding", "audit"]

_MOST_MODELS = 200  # models with a label of their own in metrics
_OTHERS = "(other)"


class Accounts:
    """Adds up savings and costs for each model. `prices` knows the price of each model's tokens."""

    def __init__(self, metrics: Metrics, prices: Prices) -> None:
        self._tokens_of = functools.cache(metrics.saved_tokens.labels)
        self._dollars_of = functools.cache(metrics.saved_dollars.labels)
        self._seconds_of = functools.cache(metrics.saved_seconds.labels)
        self._metrics = metrics
        self._tally = metrics.tally
        self._prices = prices
        self._models = set[str]()

    def price(self, model: str, usage: Usage) -> int | None:
        """Return the price of an answer in billionths of a dollar; None if the price is unknown."""
        return self._prices.nanodollars(model, usage)

    def saved(self, model: str, saved: Saved) -> None:
        """Add the savings of a hit to the metrics and to the sums in the Tally."""
        label = self._label(model)
        if (usage := saved.usage) is not None:
            self._tokens_of(label, "input").inc(usage.input)
            self._tokens_of(label, "output").inc(usage.output)
        if (price := saved.nanodollars) is not None:
            self._dollars_of(label).inc(price / A_DOLLAR)
        if saved.seconds:
            self._seconds_of(label).inc(saved.seconds)
        self._add("saved", model, saved)

    def would_save(self, model: str, saved: Saved) -> None:
        """Add the possible savings of a hit that was not served.

        The amounts are added to separate sums in the Tally. They are not added to the metrics.
        """
        self._add("unsaved", model, saved)

    def _add(self, what: str, model: str, saved: Saved) -> None:
        add = self._tally.add
        add(f"{what}.hits", of=model)
        if (usage := saved.usage) is not None:
            add(f"{what}.input", usage.input, model)
            add(f"{what}.output", usage.output, model)
        if (price := saved.nanodollars) is not None:
            add(f"{what}.priced", of=model)
            add(f"{what}.nanodollars", price, model)
        if saved.seconds:
            add(f"{what}.milliseconds", round(1000 * saved.seconds), model)

    def spent(self, purpose: Purpose, model: str, usage: Usage | None) -> None:
        """Add the cost of a request that the cache itself sent.

        `purpose` says why the cache sent the request. `usage` has the token counts of the answer;
        None if the counts are unknown.
        """
        metrics, tally, label = self._metrics, self._tally, self._label(model)
        tokens = usage.input + usage.output if usage else 0
        metrics.spent_tokens.labels(purpose, label).inc(tokens)
        tally.add(f"spent.{purpose}.calls", of=model)
        tally.add(f"spent.{purpose}.tokens", tokens, model)
        if usage and (price := self.price(model, usage)) is not None:
            metrics.spent_dollars.labels(purpose, label).inc(price / A_DOLLAR)
            tally.add(f"spent.{purpose}.nanodollars", price, model)
        else:
            tally.add(f"spent.{purpose}.unpriced", of=model)

    def _label(self, model: str) -> str:
        """Return a model's label in metrics.

        For the first 200 models the label is the name, for all others `(other)`.
        """
        if model not in self._models and len(self._models) >= _MOST_MODELS:
            return _OTHERS
        self._models.add(model)
        return model


class NoPrices:
    """A price list that contains no price."""

    def nanodollars(self, model: str, usage: Usage) -> int | None:
        """Return None: the price is unknown."""
