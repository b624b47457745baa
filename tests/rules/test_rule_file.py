"""Reading rules from a file, and the errors for a file that is wrong."""

import tomllib

import pytest

from app.core.errors import ConfigurationError
from app.rules.routing import Rule
from app.rules.rule_file import rules_of

PATHS = ("/v1/chat/completions", "/v1/embeddings")


def read(text: str) -> tuple[Rule, ...]:
    return rules_of(tomllib.loads(text), "policy.toml", PATHS)


def test_all_that_a_rule_may_say_is_read() -> None:
    rules = read("""
        [[rule]]
        name = "billing"
        model = "gpt-*"
        namespace = ["billing", ""]
        path = "/v1/chat/*"
        tier = "exact"
        ttl = 60
        max_error_rate = 0.005
        max_distance = 0.1
        stale_while_revalidate = 0
        stale_if_error = 86400.5

        [[rule]]
        """)
    assert rules == (
        Rule(
            name="billing",
            model=("gpt-*",),
            namespace=("billing", ""),
            path=("/v1/chat/*",),
            tier="exact",
            ttl=60.0,
            max_error_rate=0.005,
            max_distance=0.1,
            stale_while_revalidate=0.0,
            stale_if_error=86400.5,
        ),
        Rule("rule-2"),
    )


def test_an_empty_file_has_no_rules() -> None:
    assert read("") == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[[rules]]", "rules is unknown: only [[rule]] is allowed here"),
        ("ttl = 3", "ttl is unknown: only [[rule]] is allowed here"),
        ("[rule]\nttl = 3", "rule must be a list of tables, written as [[rule]]"),
        ("rule = [3]", "rule must be a list of tables, written as [[rule]]"),
        (
            '[[rule]]\nname = "a"\nttll = 3',
            'rule 1 ("a"): ttll is not a key of a rule: did you mean ttl?',
        ),
        (
            "[[rule]]\nzzzz = 3",
            "rule 1: zzzz is not a key of a rule: the keys are name, model, namespace, path, ",
        ),
        (
            '[[rule]]\nmodel = "a"\n[[rule]]\ntier = "fuzzy"',
            "rule 2: tier = 'fuzzy' is not allowed: it must be off, exact or semantic",
        ),
        (
            "[[rule]]\ntier = true",
            "rule 1: tier = True is not allowed: it must be off, exact or semantic",
        ),
        (
            "[[rule]]\nttl = -1",
            "rule 1: ttl = -1 is not allowed: it must be a number of seconds from 0 to 2592000",
        ),
        (
            "[[rule]]\nttl = true",
            "rule 1: ttl = True is not allowed: it must be a number of seconds from 0 to 2592000",
        ),
        (
            "[[rule]]\nttl = nan",
            "rule 1: ttl = nan is not allowed: it must be a number of seconds from 0 to 2592000",
        ),
        (
            '[[rule]]\nstale_if_error = "1h"',
            (
                "rule 1: stale_if_error = '1h' is not allowed: "
                "it must be a number of seconds from 0 to 2592000"
            ),
        ),
        (
            "[[rule]]\nmax_error_rate = 0",
            (
                "rule 1: max_error_rate = 0 is not allowed: "
                "it must be a share greater than 0 and less than 1"
            ),
        ),
        (
            "[[rule]]\nmax_distance = 2.1",
            "rule 1: max_distance = 2.1 is not allowed: it must be a cosine distance from 0 to 2",
        ),
        (
            "[[rule]]\nmodel = []",
            (
                "rule 1: model = [] is not allowed: "
                "it must be a glob such as gpt-4o*, or a list of them"
            ),
        ),
        (
            '[[rule]]\nmodel = ""',
            (
                "rule 1: model = '' is not allowed: "
                "it must be a glob such as gpt-4o*, or a list of them"
            ),
        ),
        (
            "[[rule]]\nnamespace = [1]",
            (
                "rule 1: namespace = [1] is not allowed: "
                "it must be a glob such as gpt-4o*, or a list of them"
            ),
        ),
        (
            '[[rule]]\npath = "/v1/chat"',
            (
                "rule 1: path = '/v1/chat' is not allowed: "
                "it must be a glob that matches one of /v1/chat/completions, "
            ),
        ),
        (
            '[[rule]]\nname = " "',
            (
                "rule 1 (\" \"): name = ' ' is not allowed: "
                "it must be a printable text that is not blank"
            ),
        ),
        (
            '[[rule]]\nname = "a"\nmodel = "a"\n[[rule]]\nname = "a"',
            "rule 2 (\"a\"): name = 'a' is not allowed: rule 1 has that name",
        ),
        (
            '[[rule]]\nmodel = "*"\n[[rule]]\nmodel = "a"',
            "rule 2: no request can reach it: rule 1 matches every request",
        ),
    ],
)
def test_a_mistake_is_told_with_its_file_its_rule_and_its_key(text: str, expected: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        read(text)
    told = str(raised.value).removeprefix("policy.toml: ")
    assert (told[: len(expected)] if expected.endswith(", ") else told) == expected
