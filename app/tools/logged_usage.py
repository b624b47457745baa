"""Reads the token counts of an answer from a line of a log; None where it does not tell them."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from app.core.models import Usage
from app.dialects.strict_json import JsonObject
from app.dialects.usage import usage_of


def usage_in_line(line: JsonObject, answer: JsonObject | None) -> Usage | None:
    """Return the counts of the answer's `usage`, else of the line's, else of the line itself.

    LiteLLM writes `prompt_tokens` and `completion_tokens` into the line. Counts that are all 0 are
    those of a log that does not know them.
    """
    for told in ((answer or {}).get("usage"), line.get("usage"), line):
        usage = usage_of(told)
        if usage is not None and (usage.input or usage.output):
            return usage
    return None


def langfuses_usage(line: JsonObject, told: Any) -> Usage | None:
    """Return the counts of `told`, the usage details of a Langfuse observation, else of its line.

    A detail, such as `input_cached_tokens`, is not part of `input`, so all that are named so are
    added: https://langfuse.com/docs/observability/features/token-and-cost-tracking
    """
    counts = dict(_counts(told)) if isinstance(told, dict) else {}

    def total(*words: str, of: str = "input") -> int:
        chosen = (name for name in counts if of in name)
        return sum(counts[n] for n in chosen if not words or any(word in n for word in words))

    usage = Usage(total(), total(of="output"), total("cached", "cache_read"), total("cache_crea"))
    return usage if usage.input or usage.output else usage_in_line(line, None)


def _counts(told: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Yield the counts by name without prices, such as `inputCost`; exports write some as texts."""
    for name, value in told.items():
        if name.endswith("Cost") or isinstance(value, bool):
            continue
        try:
            number = float(value)
        except (TypeError, ValueError):
            continue
        if math.isfinite(number) and number > 0:
            yield name, int(number)
