"""The results of comparing answers held back in shadow mode with the upstream's answers."""

from dataclasses import asdict

from app.core.cache_status import Tier
from app.core.metrics import Metrics
from app.core.shares import difference
from app.dialects.strict_json import JsonObject
from app.matching.comparison import Agreement


def compared(metrics: Metrics) -> JsonObject:
    """Return the number of answers by tier and agreement, and the excess of wrong ones by meaning.

    Even two answers of the upstream to the same request may differ. So the share of exact matches
    found wrong is the base rate. The excess is how far the share of hits by meaning is above it.
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
