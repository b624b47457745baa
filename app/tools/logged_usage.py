"""Reads the token counts of an answer from a line of a log.

The result is None if the line has no token counts.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from app.core.models import Usage
from app.dialects.strict_json import JsonObject
from app.dialects.usage import usage_of


def usage_in_line(line: JsonObject, answer: JsonObject | None) -> Usage | None:
    """Return the token counts of an answer, or None if the log does not have them.

    Counts may be in the field `usage` of `answer`, in the field `usage` of `line`, and in `line`
    itself, where LiteLLM writes `prompt_tokens` and `completion_tokens`. The first of these three
    places that has counts is used. If the counts in a place are all 0, they are treated as missing.
    """
    for told in ((answer or {}).get("usage"), line.get("usage"), line):
        usage = usage_of(told)
        if usage is not None and (usage.input or usage.output):
            return usage
    return None


def langfuses_usage(line: JsonObject, told: Any) -> Usage | None:
    """Return the token counts of a Langfuse observation, or None if it has none.

    `told` is the observation's usage details. If they have no counts, the counts are read from
    `line`. Langfuse does not count a detail such as `input_cached_tokens` in `input`. So all counts
    whose names contain "input" are added up. The same is done for "output".

    https://langfuse.com/docs/observability/features/token-and-cost-tracking
    """
    counts = dict(_counts(told)) if isinstance(told, dict) else {}

    def total(*words: str, of: str = "input") -> int:
        chosen = (name for name in counts if of in name)
        return sum(counts[n] for n in chosen if not words or any(word in n for word in words))

    usage = Usage(total(), total(of="output"), total("cached", "cache_read"), total("cache_crea"))
    return usage if usage.input or usage.output else usage_in_line(line, None)


def _counts(told: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Yield the name and value of each count that is not 0; some exports write counts as strings.

    Prices, such as `inputCost`, are left out.
    """
    for name, value in told.items():
        if name.endswith("Cost") or isinstance(value, bool):
            continue
        try:
            number = float(value)
        except (TypeError, ValueError):
            continue
        if math.isfinite(number) and number > 0:
            yield name, int(number)
