"""Formats a running proxy's report as text."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

_KEPT = MappingProxyType(
    {
        "process": "in this process only, since its start",
        "file": "in the store's file, across restarts",
        "fleet": "for all proxies that share the store",
    }
)


def report_text(told: Mapping[str, Any]) -> str:
    """Return the JSON document of `GET /cache/report` as plain text."""
    lines = [
        f"mode       {told['mode']}; counted {_KEPT[told['kept_in']]}",
        f"requests   {_counts(told['requests'])}",
    ]
    would_be = dict(told["would_be"])
    unsaved = would_be.pop("unsaved")
    if any(would_be.values()):
        lines.append(f"held back  {_counts(would_be)}")
    lines += [*_compared(told["compared"]), *_audited(told["audit"])]
    lines.append(f"saved      {saved_text(told['savings'])}{_net(told['savings'])}")
    if unsaved["hits"]:
        lines.append(f"would save {saved_text(unsaved)}")
    lines += [_dial(told["dial"]), *_pairs(told["pairs"])]
    return "\n".join(lines)


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _compared(compared: Mapping[str, Any]) -> Iterator[str]:
    for tier in ("exact", "semantic"):
        if any(compared[tier].values()):
            yield f"compared   {tier}: {_counts(compared[tier])}"
    if compared["excess_wrong"]:
        yield f"           more wrong by meaning than exact: {_interval(compared['excess_wrong'])}"


def _audited(audit: Mapping[str, Any]) -> Iterator[str]:
    for tier in ("exact", "semantic"):
        share = audit[tier]
        if share["of"]:
            shown = _interval({**share, "value": share["share"]})
            yield f"audited    {tier}: {share['wrong']} of {share['of']} wrong, {shown}"
    if audit["excess_wrong"]:
        yield f"           more wrong by meaning than exact: {_interval(audit['excess_wrong'])}"
    if audit["caution"]:
        level = audit["caution"]
        yield f"caution    level {level} of 3: hits by meaning are stricter than the settings"


def _interval(share: Mapping[str, float]) -> str:
    value, low, high = (100 * share[name] for name in ("value", "low", "high"))
    return f"{value:.1f} % [{low:.1f}, {high:.1f}]"


def saved_text(saved: Mapping[str, Any]) -> str:
    """Return one line that says how much hits have saved.

    `saved` has the figures from the answer of `GET /cache/stats`.
    """
    unpriced = f" ({saved['unpriced_hits']} hits without a price)" if saved["unpriced_hits"] else ""
    return (
        f"${saved['usd']:.4f}{unpriced}, {saved['input_tokens']} tokens in, "
        f"{saved['output_tokens']} tokens out, {saved['seconds']:.1f} s by {saved['hits']} hits"
    )


def _net(saved: Mapping[str, Any]) -> str:
    spent = {name: told["usd"] for name, told in saved["spent"].items() if told["calls"]}
    if not spent:
        return ""
    cost = ", ".join(f"{name} ${usd:.4f}" for name, usd in spent.items())
    return f"; minus {cost}: ${saved['net_usd']:.4f}"


def _dial(dial: Mapping[str, Any]) -> str:
    if dial["suggested"] is None:
        return f"suggested  nothing yet: {dial['why']}"
    keep = "keep " if dial["suggested"] == dial["present"] else ""
    return f"suggested  {keep}{dial['setting']}={dial['suggested']:g}: {dial['why']}"


def _pairs(pairs: list[Mapping[str, Any]]) -> Iterator[str]:
    for pair in pairs:
        how = "served" if pair["is_served"] else "held back"
        yield f"\n{how}, distance {pair['distance']:.4f}, entry {pair['entry'][:12]}"
        for name in ("asked", "stored", "answer", "upstreams_answer"):
            yield f"  {name.replace('upstreams_answer', 'upstream'):<9}{pair[name]}"
