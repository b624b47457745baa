"""A log, replayed with the times in it: the hits, their savings, and how many are right."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from app.core.cache_status import Tier
from app.core.errors import BadInput, ConfigurationError
from app.matching.comparison import Agreement
from app.rules.key import Isolation
from app.rules.modes import Mode
from app.settings import FixedSettings
from app.tools.evaluate import Models
from app.tools.exchange import Exchange
from app.tools.rehearse import Outcome, Pair, Rehearsal, Terms, refuse_to_send
from app.tools.rehearsed import Rehearsed, rehearse, terms_for
from app.tools.saved import Savings
from app.tools.traffic import Traffic, read_traffic
from tests.fakes import FakeEmbedder, FakeProgress, FakeVerifier, completion

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
    assert outcome.requests == 4
    assert outcome.saved == {"m": Savings(hits=2, unpriced=2, input=20, output=4, seconds=3.0)}
    assert [(pair.asked, pair.stored, pair.tier, pair.agreement) for pair in outcome.pairs] == [
        (1, 0, Tier.EXACT, Agreement.RIGHT),
        (2, 0, Tier.SEMANTIC, Agreement.WRONG),
    ]


def test_a_log_that_litellm_has_written_is_replayed(tmp_path: Path) -> None:
    lines = (LOGS / "litellm.jsonl").read_text().splitlines()
    (tmp_path / "log.jsonl").write_text("\n".join([*lines, lines[-1]]))
    outcome = replay(read_traffic(tmp_path / "log.jsonl"))
    assert (outcome.requests, outcome.hits, outcome.bypassed) == (4, {Tier.EXACT: 2}, {})
    saved = {model: (part.input, part.output) for model, part in outcome.saved.items()}
    assert saved == {"gpt-4o-mini": (12, 9), "gpt-3.5-turbo-instruct": (10, 20)}


PRICES = """
[models."my-*"]
input = 10
output = 100
"""


def test_a_log_of_litellms_proxy_is_priced_by_hand(tmp_path: Path) -> None:
    """The comments below state the prices, in dollars per million input and output tokens."""
    (tmp_path / "prices.toml").write_text(PRICES)
    settings = FixedSettings(verifier="off", prices=str(tmp_path / "prices.toml"))
    outcome = replay(read_traffic(LOGS / "litellm_proxy.jsonl"), settings)
    told = {
        model: (part.hits, part.unpriced, part.input, part.output, part.nanodollars)
        for model, part in outcome.saved.items()
    }
    assert told == {
        "gpt-4o-mini": (1, 0, 6, 40, 24_900),  # 0.15 and 0.6: 6 * 150 + 40 * 600
        "gpt-4o": (2, 0, 12, 80, 830_000),  # 2.5 and 10: twice 6 * 2500 + 40 * 10,000
        "claude-sonnet": (1, 0, 6, 40, 618_000),  # 3 and 15: 6 * 3000 + 40 * 15,000
        "my-own": (1, 0, 9, 40, 4_090_000),  # the file's 10 and 100: 9 * 10,000 + 40 * 100,000
        "gpt-3.5-turbo-instruct": (1, 0, 4, 40, 86_000),  # 1.5 and 2: 4 * 1500 + 40 * 2000
    }


CACHED = {"prompt_tokens": 1000, "prompt_tokens_details": {"cached_tokens": 800}}
COUNTS = CACHED | {"completion_tokens": 100}
BODIES = {"request": {"model": "gpt-4o", "messages": [{"role": "user", "content": "valkey"}]}}
OBSERVED = {
    "traceId": "t",
    "type": "GENERATION",
    "model": "gpt-4o",
    "input": "valkey",
    "output": "3",
    "usageDetails": {"input": 200, "input_cached_tokens": 800, "output": 60, "output_audio": 40},
}
LOGGED = {
    "call_type": "acompletion",
    "model": "openai/gpt-4o",
    "messages": "valkey",
    "response": "3",
    "model_group": "best",
    "custom_llm_provider": "openai",
    "usage": COUNTS,
}


@pytest.mark.parametrize(
    ("line", "model"),
    [
        (BODIES | {"response": completion("3") | {"usage": COUNTS}}, "gpt-4o"),
        (OBSERVED, "gpt-4o"),
        (LOGGED, "best"),
    ],
)
def test_every_log_is_priced_alike(tmp_path: Path, line: dict[str, Any], model: str) -> None:
    """200 input, 800 cached and 100 output tokens of gpt-4o cost $2.5, $1.25 and $10 a million."""
    outcome = replay(traffic(tmp_path, line, line, line))
    saved = Savings(hits=2, input=2000, output=200, nanodollars=2 * 2_500_000)
    assert outcome.saved == {model: saved}
    told = Rehearsed(Traffic("", [], {}), [outcome])
    assert told.document()["saved"]["models"][model]["usd"] == 0.005
    assert told.document()["rows"][0]["usd"] == 0.005
    assert "saved: $0.0050, 2000 tokens in, 200 tokens out, 0.0 s by 2 hits" in str(told)


def test_a_prices_file_with_a_mistake_is_refused_before_the_log_is_replayed(tmp_path: Path) -> None:
    log = traffic(tmp_path, asked("valkey", 0))
    settings = FixedSettings(verifier="off", prices=str(tmp_path / "none.toml"))
    with pytest.raises(ConfigurationError, match="REPRISE_PRICES"):
        Rehearsal(log, settings, Models(FakeEmbedder()))


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
    assert (outcome.hits.total(), outcome.pairs) == (1, [])
    assert outcome.saved == {"unknown": Savings(hits=1, unpriced=1)}


def test_other_routes_are_replayed_too(tmp_path: Path) -> None:
    request = {"model": "e", "input": "a"}
    item = {"object": "embedding", "index": 0, "embedding": [1.0, 2.0]}
    answer = {"object": "list", "model": "e", "data": [item], "usage": {"prompt_tokens": 1}}
    line = {"request": request, "response": answer, "url": "/v1/embeddings"}
    outcome = replay(traffic(tmp_path, line, line))
    assert (outcome.hits, outcome.pairs) == ({Tier.EXACT: 1}, [])
    assert outcome.saved == {"e": Savings(hits=1, unpriced=1, input=1)}


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
    # The upstream is asked behind it, so it saves time and nothing else.
    assert outcome.saved == {"m": Savings(hits=1, unpriced=1, seconds=1.5)}


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
    """Make an outcome. `semantic` and `exact` are pairs: wrong hits, and all compared hits."""
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
    saved = {"unpriced_hits": 2, "input_tokens": 20, "output_tokens": 4, "usd": 0.0, "seconds": 3.0}
    assert document["saved"] == {"hits": 2, **saved, "models": {"m": {"hits": 2, **saved}}}
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
    line = "$0.0000 (2 hits without a price), 20 tokens in, 4 tokens out, 3.0 s by 2 hits"
    assert f"saved: {line}" in text
    assert "m      2       -               2          20            4       3.0" in text
    assert "  answered It has 4." in text
