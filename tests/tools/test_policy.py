"""The output of `reprise policy check` for a request."""

import json
from pathlib import Path
from typing import Any

import pytest

from app.core.errors import BadInput, ConfigurationError
from app.settings import FixedSettings
from app.tools.policy import check_named, check_request

RULES = """
[[rule]]
name = "off"
model = "draft-*"
tier = "off"

[[rule]]
name = "billing"
namespace = "billing*"
path = "/v1/chat/*"
tier = "exact"
ttl = 10

[[rule]]
name = "sure"
model = "gpt-*"
max_error_rate = 0.001
max_distance = 0.1
"""


@pytest.fixture
def settings(tmp_path: Path) -> FixedSettings:
    (tmp_path / "policy.toml").write_text(RULES)
    return FixedSettings(policy=str(tmp_path / "policy.toml"), ttl=60)


def chat(text: str = "What is Valkey?", **fields: Any) -> dict[str, Any]:
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": text}], **fields}


def test_a_request_by_its_names_meets_a_rule_and_passes_others(settings: FixedSettings) -> None:
    told = check_named(settings, "gpt-4o", "", None)
    assert told.document() == {
        "model": "gpt-4o",
        "namespace": "",
        "path": "/v1/chat/completions",
        "rule": {"number": 3, "name": "sure"},
        "passed": [
            {"number": 1, "name": "off", "differs": "model"},
            {"number": 2, "name": "billing", "differs": "namespace"},
        ],
        "tier": "semantic",
        "ttl": 60.0,
        "stale_while_revalidate": 0.0,
        "stale_if_error": 0.0,
        "max_error_rate": 0.001,
        "max_distance": 0.1,
        "mode": "serve",
        "bypass": None,
    }
    assert str(told).splitlines() == [
        "rule        3 sure",
        "passed      1 off: its model does not match",
        "passed      2 billing: its namespace does not match",
        "tier        semantic",
        "ttl         60 s",
        "stale       0 s, 0 s on errors",
        "dial        0.001",
        "distance    0.1",
    ]


@pytest.mark.parametrize(
    ("document", "rule", "tier", "bypass"),
    [
        (chat(), "sure", "semantic", None),
        (chat(model="m"), None, "semantic", None),
        (chat(model="draft-1"), "off", "off", "policy"),
        (chat(temperature=2), "sure", "off", "temperature"),
        (chat("Write me another random poem"), "sure", "off", "must-be-new"),
        ({"request": chat(), "headers": {"X-Cache-Tier": "exact"}}, "sure", "exact", None),
        (
            {"request": chat(), "headers": {"x-cache-namespace": "billing"}},
            "billing",
            "exact",
            None,
        ),
        (
            {"request": {"model": "gpt-e", "input": "a"}, "route": "/v1/embeddings"},
            "sure",
            "exact",
            None,
        ),
        (
            {"request": chat(), "route": "/openai/deployments/draft-9/chat/completions"},
            "off",
            "off",
            "policy",
        ),
    ],
)
def test_a_request_in_json_is_decided_as_the_proxy_would(
    settings: FixedSettings, document: Any, rule: str | None, tier: str, bypass: str | None
) -> None:
    told = check_request(settings, json.dumps(document).encode())
    assert (told.name, told.bypass) == (rule, bypass)
    if bypass is None:
        assert told.terms.tier == tier


def test_a_time_bound_question_lives_as_short_as_ever(settings: FixedSettings) -> None:
    body = json.dumps(chat("What is the latest news?")).encode()
    longer = settings.model_copy(update={"volatile_ttl": 5})
    assert check_request(longer, body).terms.ttl == 5


@pytest.mark.parametrize("document", [b"{", b"[]", b'{"request": {}}', b'{"model": 1}'])
def test_what_is_no_request_is_refused(settings: FixedSettings, document: bytes) -> None:
    with pytest.raises(BadInput):
        check_request(settings, document)


def test_a_path_that_is_never_cached_is_refused(settings: FixedSettings) -> None:
    with pytest.raises(BadInput, match="/v1/images is not cached"):
        check_named(settings, "m", "", "/v1/images")


@pytest.mark.parametrize(
    ("rule", "changes", "expected"),
    [
        ("max_error_rate = 0.02", {}, "it must not be greater, because callers can choose"),
        ("max_error_rate = 0.001", {"verifier": "off"}, "only the verifier can keep to it"),
        ("ttl = ", {}, "is not valid TOML"),
    ],
)
def test_rules_that_cannot_hold_stop_the_start(
    tmp_path: Path, rule: str, changes: Any, expected: str
) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(f"[[rule]]\n{rule}\n")
    with pytest.raises(ConfigurationError) as raised:
        check_named(FixedSettings(policy=str(path), **changes), "m", "", None)
    assert str(raised.value).startswith(f"REPRISE_POLICY={path}")
    assert expected in str(raised.value)


def test_a_file_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        check_named(FixedSettings(policy=str(tmp_path / "none.toml")), "m", "", None)
