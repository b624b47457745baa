"""All metrics and labels that the dashboard and the alert rules use exist."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.core.cache_status import Outcome, Tier
from app.core.metrics import Metrics
from app.matching.comparison import Agreement

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana.json").read_text())
GROUPS: list[dict[str, Any]] = yaml.safe_load((DEPLOY / "alerts.yaml").read_text())["groups"]
ALERTS = [rule for group in GROUPS for rule in group["rules"]]

SELECTOR = re.compile(r"(reprise_\w+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"')
GROUPED = re.compile(r"\bby \(([^)]*)\)")
FROM_PROMETHEUS = {"instance", "le"}
VALUES = {
    "outcome": {"REFUSED", "ABANDONED", *(outcome.value for outcome in Outcome)},
    "tier": {tier.value for tier in Tier},
    "agreement": {agreement.value for agreement in Agreement},
    "part": {"store", "embedder", "verifier", "upstream"},
    "bound": {"value", "low", "high"},
    "reason": {"expired", "lru", "bytes"},
}


def ours() -> dict[str, set[str]]:
    """Return the labels of each of our metrics, by the metric's name in Prometheus."""
    told: dict[str, set[str]] = {}
    for collector in vars(Metrics()).values():
        if not hasattr(collector, "_labelnames"):
            continue
        (family,) = collector.describe()
        ends = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}
        for end in ends.get(family.type, [""]):
            told[family.name + end] = set(collector._labelnames)
    return told


def asked() -> Iterator[tuple[str, str]]:
    """Yield the title of each panel or alert, and its expression."""
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for rule in ALERTS:
        yield rule["alert"], rule["expr"]


@pytest.mark.parametrize(("where", "expression"), list(asked()))
def test_an_expression_names_metrics_and_labels_that_there_are(where: str, expression: str) -> None:
    told, used = ours(), SELECTOR.findall(expression)
    assert used, where
    labels: set[str] = set()
    for name, matchers in used:
        assert name in told, name
        labels |= told[name]
        for label, value in MATCHER.findall(matchers):
            assert label in told[name] | FROM_PROMETHEUS, label
            assert label in FROM_PROMETHEUS or set(value.split("|")) <= VALUES[label], value
    for group in GROUPED.findall(expression):
        assert {label.strip() for label in group.split(",")} <= labels | FROM_PROMETHEUS, group


def test_the_dashboard_shows_every_metric() -> None:
    shown = "".join(target["expr"] for p in DASHBOARD["panels"] for target in p["targets"])
    families = {re.sub(r"_(bucket|count|sum)$", "", name) for name in ours()}
    assert [name for name in sorted(families) if name not in shown] == []


def test_a_legend_names_labels_that_its_expression_keeps() -> None:
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                kept = ",".join(GROUPED.findall(target["expr"])) or "instance"
                assert label in re.split(r"[ ,]+", kept), panel["title"]


def test_no_panel_lies_on_another() -> None:
    cells = [
        (x, y)
        for at in (panel["gridPos"] for panel in DASHBOARD["panels"])
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_an_alert_says_what_it_means_and_what_to_do() -> None:
    assert len({rule["alert"] for rule in ALERTS}) == len(ALERTS)
    for rule in ALERTS:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert set(rule["annotations"]) == {"summary", "description"}
