"""The output of `reprise report`."""

from typing import Any

from app.tools.report import report_text

NOTHING = {"wrong": 0, "of": 0, "share": None, "low": 0.0, "high": 1.0}
NO_HITS = {
    "hits": 0,
    "unpriced_hits": 0,
    "input_tokens": 0,
    "output_tokens": 0,
    "usd": 0.0,
    "seconds": 0.0,
}
NO_COST = {"calls": 0, "unpriced": 0, "tokens": 0, "usd": 0.0}
AT_FIRST: dict[str, Any] = {
    "mode": "serve",
    "kept_in": "process",
    "requests": {"exact": 0, "semantic": 0, "stale": 0, "miss": 0},
    "would_be": {"exact": 0, "semantic": 0, "stale": 0, "miss": 0, "unsaved": NO_HITS},
    "compared": {
        "exact": {"right": 0, "wrong": 0, "open": 0},
        "semantic": {"right": 0, "wrong": 0, "open": 0},
        "excess_wrong": None,
    },
    "audit": {"rate": 0.0, "caution": 0, "exact": NOTHING, "semantic": NOTHING}
    | {"by_distance": {}, "by_namespace": {}, "excess_wrong": None},
    "savings": {
        **NO_HITS,
        "spent": {"embedding": NO_COST, "audit": NO_COST},
        "net_usd": 0.0,
        "models": {},
    },
    "dial": {
        "setting": "REPRISE_MAX_ERROR_RATE",
        "present": 0.01,
        "suggested": None,
        "why": "in each tier, at least 50 answers must be compared",
    },
    "pairs": [],
}

SAVED = (
    "saved      $1.5000 (1 hits without a price), 0 tokens in, 0 tokens out, 4.2 s by 3 hits"
    "; minus audit $0.0000: $1.4000"
)


def test_at_first_there_is_little_to_say() -> None:
    assert report_text(AT_FIRST).splitlines() == [
        "mode       serve; counted in this process only, since its start",
        "requests   exact 0, semantic 0, stale 0, miss 0",
        "saved      $0.0000, 0 tokens in, 0 tokens out, 0.0 s by 0 hits",
        "suggested  nothing yet: in each tier, at least 50 answers must be compared",
    ]


def test_all_that_was_found_is_told() -> None:
    hits = {**NO_HITS, "hits": 3, "unpriced_hits": 1, "usd": 1.5, "seconds": 4.25}
    share = {"wrong": 2, "of": 50, "share": 0.04, "low": 0.011, "high": 0.135}
    told = AT_FIRST | {
        "mode": "serve-exact",
        "kept_in": "fleet",
        "would_be": {"exact": 0, "semantic": 5, "stale": 0, "miss": 7, "unsaved": hits},
        "compared": {
            "exact": {"right": 4, "wrong": 0, "open": 1},
            "semantic": {"right": 3, "wrong": 2, "open": 0},
            "excess_wrong": {"value": 0.4, "low": 0.01, "high": 0.77},
        },
        "audit": AT_FIRST["audit"]
        | {"semantic": share, "caution": 1}
        | {"excess_wrong": {"value": 0.04, "low": 0.011, "high": 0.135}},
        "savings": AT_FIRST["savings"]
        | hits
        | {"net_usd": 1.4, "spent": {"embedding": NO_COST, "audit": {**NO_COST, "calls": 2}}},
        "dial": {"setting": "REPRISE_MAX_DISTANCE", "present": 0.1, "suggested": 0.05, "why": "so"},
        "pairs": [
            {
                "distance": 0.0421,
                "entry": "0123456789abcdef",
                "is_served": False,
                "asked": "A?",
                "stored": "B?",
                "answer": "3",
                "upstreams_answer": "4",
            }
        ],
    }
    assert report_text(told).splitlines() == [
        "mode       serve-exact; counted for all proxies that share the store",
        "requests   exact 0, semantic 0, stale 0, miss 0",
        "held back  exact 0, semantic 5, stale 0, miss 7",
        "compared   exact: right 4, wrong 0, open 1",
        "compared   semantic: right 3, wrong 2, open 0",
        "           more wrong by meaning than exact: 40.0 % [1.0, 77.0]",
        "audited    semantic: 2 of 50 wrong, 4.0 % [1.1, 13.5]",
        "           more wrong by meaning than exact: 4.0 % [1.1, 13.5]",
        "caution    level 1 of 3: hits by meaning are stricter than the settings",
        SAVED,
        "would save $1.5000 (1 hits without a price), 0 tokens in, 0 tokens out, 4.2 s by 3 hits",
        "suggested  REPRISE_MAX_DISTANCE=0.05: so",
        "",
        "held back, distance 0.0421, entry 0123456789ab",
        "  asked    A?",
        "  stored   B?",
        "  answer   3",
        "  upstream 4",
    ]
