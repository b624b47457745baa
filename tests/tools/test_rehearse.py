"""A log, replayed in its own time: hits, what they save, and what they are worth."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from app.core.cache_status import Tier
from app.core.errors import BadInput
from app.matching.comparison import Agreement
from app.rules.key import Isolation
from app.rules.modes import Mode
from app.settings import FixedSettings
from app.tools.evaluate import Models
from app.tools.rehearse import Outcome, Pair, Rehearsal, Terms, refuse_to_send
from app.tools.rehearsed import Rehearsed, rehearse, terms_for
from app.tools.traffic import Exchange, Traffic, read_traffic
from tests.fakes import FakeEmbedder, FakeProgress, FakeVerifier

SETTINGS = FixedSettings(verifier="off")
LOGS = Path(__file__).parent / "logs"
BEGIN = 1_700_000_000


def traffic(path: Path, *lines: Any) -> Traffic:
    (path / "log.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return read_traffic(path / "log.jsonl")


def asked(prompt: str, after: float, answer: str = "It has 3.", **fields: Any) -> dict[str, Any]:
    usage = {"prompt_tokens": 10, "completion_tokens": 2}
    told = {"model": "m", "usage": usage, "seconds": 1.5, "time": BEGIN + after}
    return {"prompt": prompt, "answer": answer, **told, **fields}


def replay(log: Traffic, settings: FixedSettings = SETTINGS, **terms: float) -> Outcome:
    told = Terms(terms.get("max_error_rate", 0.01), terms.get("ttl", 3600.0))
    return Rehearsal(log, settings, Models(FakeEmbedder())).replay(told, FakeProgress())


def test_hits_are_counted_by_tier_with_what_they_save(tmp_path: Path) -> None:
    log = traffic(
        tmp_path,
        asked("valkey how many", 0),
        asked("valkey how many", 10),
        asked("valkey so how many", 20, "It has 4."),
        asked("pasta how", 30),
    )
    outcome = replay(log)
    assert outcome.hits == Counter({Tier.EXACT: 1, Tier.SEMANTIC: 1})
    assert (outcome.requests, outcome.seconds, outcome.tokens) == (4, 3.0, {"m": (20, 4)})
    assert [(pair.asked, pair.stored, pair.tier, pair.agreement) for pair in outcome.pairs] == [
        (1, 0, Tier.EXACT, Agreement.RIGHT),
        (2, 0, Tier.SEMANTIC, Agreement.WRONG),
    ]


def test_a_log_that_litellm_has_written_is_replayed(tmp_path: Path) -> None:
    lines = (LOGS / "litellm.jsonl").read_text().splitlines()
    (tmp_path / "log.jsonl").write_text("\n".join([*lines, lines[-1]]))
    outcome = replay(read_traffic(tmp_path / "log.jsonl"))
    assert (outcome.requests, outcome.hits, outcome.bypassed) == (4, {Tier.EXACT: 2}, {})
    assert outcome.tokens == {"gpt-4o-mini": (12, 9), "gpt-3.5-turbo-instruct": (10, 20)}


def test_entries_expire_by_the_times_of_the_log(tmp_path: Path) -> None:
    log = traffic(
        tmp_path, *(asked("valkey how many", after) for after in (0, 90, 110, 190, 86_400))
    )
    assert replay(log, ttl=100).hits.total() == 2
    assert replay(log, ttl=1000).hits.total() == 3
    assert replay(log, ttl=100_000).hits.total() == 4


def test_callers_do_not_share_unless_the_settings_say_so(tmp_path: Path) -> None:
    log = traffic(
        tmp_path, *(asked("valkey how many", 0, key=key) for key in ("ann", "bob é", "ann"))
    )
    assert replay(log).hits.total() == 1
    assert replay(log, FixedSettings(verifier="off", isolation=Isolation.SHARED)).hits.total() == 2


def test_what_goes_past_the_cache_is_counted_by_reason(tmp_path: Path) -> None:
    log = traffic(tmp_path, *(asked("valkey how many", 0, temperature=2) for _ in range(2)))
    assert replay(log).bypassed == {"temperature": 2}


def test_an_answer_that_the_log_has_not_is_made_up_and_never_compared(tmp_path: Path) -> None:
    log = traffic(tmp_path, {"prompt": "valkey what"}, {"prompt": "valkey what"})
    outcome = replay(log)
    assert (outcome.hits.total(), outcome.pairs, outcome.tokens) == (1, [], {"unknown": (0, 0)})


def test_other_routes_are_replayed_too(tmp_path: Path) -> None:
    request = {"model": "e", "input": "a"}
    item = {"object": "embedding", "index": 0, "embedding": [1.0, 2.0]}
    answer = {"object": "list", "model": "e", "data": [item], "usage": {"prompt_tokens": 1}}
    line = {"request": request, "response": answer, "url": "/v1/embeddings"}
    outcome = replay(traffic(tmp_path, line, line))
    assert (outcome.hits, outcome.pairs) == ({Tier.EXACT: 1}, [])
    assert outcome.tokens == {"e": (1, 0)}


def test_a_stale_answer_is_followed_by_the_logs_own_newer_one(tmp_path: Path) -> None:
    log = traffic(
        tmp_path,
        asked("valkey how many", 0, "It has 3."),
        asked("valkey how many", 70, "It has 4."),
        asked("pasta how", 80),
    )
    stale = FixedSettings(verifier="off", stale_while_revalidate=60)
    outcome = replay(log, stale, ttl=60)
    assert outcome.hits == {Tier.EXACT: 1}
    assert [pair.agreement for pair in outcome.pairs] == [Agreement.WRONG]


@pytest.mark.parametrize(
    "settings",
    [
        {"embedder": "https://embed.test/v1"},
        {"embedder": "upstream"},
        {"verifier_url": "http://rerank.test/rerank", "verifier_calibration": "c.json"},
    ],
)
def test_no_model_elsewhere_is_sent_the_questions(settings: Any) -> None:
    with pytest.raises(BadInput, match="would receive the questions of the log"):
        refuse_to_send(FixedSettings(**settings))


def test_what_the_operator_has_set_up_elsewhere_is_never_asked(tmp_path: Path) -> None:
    log = traffic(tmp_path, asked("valkey what", 0, key="ann"), asked("valkey what", 1, key="ann"))
    elsewhere = FixedSettings(
        verifier="off",
        upstream_url="http://127.0.0.1:9/v1",
        upstream_api_key=SecretStr("sk-ours"),
        api_keys=(SecretStr("sk-a"),),
        store="valkey://127.0.0.1:9/0",
        anthropic_url="http://127.0.0.1:9",
        mode=Mode.SHADOW,
        fleet_collapse_wait=5,
    )
    assert replay(log, elsewhere).hits == {Tier.EXACT: 1}


def test_no_audit_makes_the_dial_stricter_on_the_way(tmp_path: Path) -> None:
    log = traffic(tmp_path, asked("valkey what", 0))
    audited = FixedSettings(audit_rate=1, upstream_api_key=SecretStr("sk-ours"), traces="otlp")
    rehearsal = Rehearsal(log, audited, Models(FakeEmbedder()))
    settings = rehearsal._settings_on(Terms(0.05, 60))
    assert (settings.audit_rate, settings.traces) == (0, "off")
    assert (settings.max_error_rate, settings.ttl) == (0.05, 60)


def test_the_dial_is_one_of_the_terms(tmp_path: Path) -> None:
    log = traffic(tmp_path, asked("valkey how many", 0), asked("valkey so how many", 1))
    verifier = FakeVerifier()
    verifier.answer = lambda _: 0.7
    rehearsal = Rehearsal(log, FixedSettings(), Models(FakeEmbedder(), verifier))
    hits = {
        dial: rehearsal.replay(Terms(dial, 3600), FakeProgress()).hits.total()
        for dial in (0.01, 0.05)
    }
    assert hits == {0.01: 0, 0.05: 1}
    assert len(verifier.asked) == 1  # what was verified once is remembered


@pytest.mark.parametrize(
    ("settings", "span", "verified", "expected"),
    [
        ({}, 60, True, [(0.01, 3600), (0.02, 3600), (0.05, 3600), (0.1, 3600)]),
        ({"max_error_rate": 0.05, "policy": "p.toml"}, 0, True, [(0.05, 3600), (0.1, 3600)]),
        ({}, 3601, False, [(0.01, 3600), (0.01, 86_400)]),
        ({"ttl": 60}, 90_000, False, [(0.01, t) for t in (60, 3600, 86_400, 604_800)]),
    ],
)
def test_the_operators_terms_come_first_and_only_what_the_log_can_show(
    settings: Any, span: float, verified: bool, expected: Any
) -> None:
    exchanges = [Exchange("", {}, at=BEGIN), Exchange("", {}, at=BEGIN + span)]
    found = terms_for(FixedSettings(**settings), Traffic("", exchanges, {}), is_verified=verified)
    assert [(terms.max_error_rate, terms.ttl) for terms in found] == expected


def outcome_of(
    dial: float, ttl: float, hits: int, semantic: tuple[int, int], exact: tuple[int, int] = (0, 0)
) -> Outcome:
    """Make an outcome with so many wrong hits of those compared, by tier."""
    outcome = Outcome(Terms(dial, ttl), 1000, Counter({Tier.EXACT: hits}))
    for tier, (wrong, of) in ((Tier.SEMANTIC, semantic), (Tier.EXACT, exact)):
        for number in range(of):
            agreement = Agreement.WRONG if number < wrong else Agreement.OPEN
            outcome.pairs.append(Pair(0, 0, tier, "0.1", agreement))
    return outcome


@pytest.mark.parametrize(
    ("outcomes", "dial", "ttl"),
    [
        ([outcome_of(0.01, 60, 9, (0, 29))], None, 60),
        ([outcome_of(0.01, 60, 0, (0, 30))], 0.01, None),
        ([outcome_of(0.01, 60, 9, (0, 50)), outcome_of(0.05, 60, 9, (2, 50))], 0.05, 60),
        ([outcome_of(0.01, 60, 9, (0, 50)), outcome_of(0.05, 60, 9, (3, 50))], 0.01, 60),
        ([outcome_of(0.05, 60, 9, (5, 50), (5, 50))], 0.05, 60),
        ([outcome_of(0.05, 60, 9, (5, 50))], None, 60),
        (
            [
                outcome_of(0.01, 60, 50, (0, 0)),
                outcome_of(0.01, 3600, 96, (0, 0)),
                outcome_of(0.01, 86_400, 100, (0, 0)),
            ],
            None,
            3600,
        ),
    ],
)
def test_settings_are_suggested_by_what_was_found(
    outcomes: list[Outcome], dial: float | None, ttl: float | None
) -> None:
    told = Rehearsed(Traffic("", [], {}), outcomes).advice
    assert [(advice.setting, advice.value) for advice in told] == [
        ("REPRISE_MAX_ERROR_RATE", dial),
        ("REPRISE_TTL", ttl),
    ]


def test_a_report_tells_all_of_it_as_text_and_as_json(tmp_path: Path) -> None:
    log = traffic(
        tmp_path,
        asked("valkey how many", 0),
        asked("valkey so how many", 20, "It has 4."),
        asked("valkey how many", 30),
        asked("valkey how many", 40, temperature=2),
        {"other": 1},
    )
    progress = FakeProgress()
    told = rehearse(log, SETTINGS, Models(FakeEmbedder()), progress, show=1)
    assert progress.seen == [("dial 0.01, TTL 3600 s", 4, 4)]
    document = told.document()
    assert (document["requests"], document["unusable"]) == (4, {"unknown-shape": 1})
    assert document["bypassed"] == {"temperature": 1}
    assert document["saved"] == {"seconds": 3.0, "tokens": {"m": {"input": 20, "output": 4}}}
    (row,) = document["rows"]
    assert (row["semantic"]["count"], row["wrong_semantic"]["count"]) == (1, 1)
    assert row["excess_wrong"]["value"] == 1
    (wrong,) = document["wrong"]
    assert wrong == {
        "asked": "valkey so how many",
        "stored": "valkey how many",
        "answered": "It has 4.",
        "served": "It has 3.",
    }
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    text = str(told)
    assert "4 requests, 1 unknown-shape" in text
    assert "saved: 3.0 s, 20 tokens in, 4 tokens out" in text
    assert "  answered It has 4." in text
