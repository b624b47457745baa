"""What comparing has shown of answers that were kept back."""

from dataclasses import asdict

from app.core.cache_status import Tier
from app.core.metrics import Metrics
from app.core.shares import difference
from app.dialects.strict_json import JsonObject
from app.matching.comparison import Agreement


def compared(metrics: Metrics) -> JsonObject:
    """Return the counts by tier, and how much more often those by meaning are found wrong.

    What answers to the very same request differ in is no fault of the cache: their share is the
    base rate.
    """
    counts = {tier: _counts(metrics, tier) for tier in Tier}
    wrong = {tier: counts[tier][Agreement.WRONG] for tier in Tier}
    of = {tier: sum(counts[tier].values()) for tier in Tier}
    excess = difference(
        *(wrong[Tier.SEMANTIC], of[Tier.SEMANTIC]), *(wrong[Tier.EXACT], of[Tier.EXACT])
    )
    shown = {tier.value: {a.value: n for a, n in counts[tier].items()} for tier in Tier}
    told = excess and {name: round(value, 4) for name, value in asdict(excess).items()}
    return shown | {"excess_wrong": told}


def _counts(metrics: Metrics, tier: Tier) -> dict[Agreement, int]:
    counts = dict.fromkeys(Agreement, 0)
    for family in metrics.compared.collect():
        for sample in family.samples:
            if sample.name.endswith("_total") and sample.labels["tier"] == tier.value:
                counts[Agreement(sample.labels["agreement"])] += int(sample.value)
    return counts
