"""`reprise policy check`: which rule applies to a request, and its effect."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.api.dialects import DEPLOYED
from app.api.paths import CACHED, CHAT_COMPLETIONS, ApiPath, api_path, route_of
from app.core.errors import BadInput, NotUnderstood
from app.core.models import ClientRequest, Header
from app.core.tags import NAMESPACE
from app.dialects.dialect import Dialect
from app.dialects.strict_json import JsonObject, load_json
from app.main import dialects_for, policy_for
from app.rules import decisions
from app.rules.decisions import Bypass
from app.rules.limits import Limits
from app.rules.must_be_new import wants_new
from app.rules.plan import EmbeddingsPlan, Plan, Policy
from app.rules.routing import Criterion, Rule, Subject, rule_for, strictest, subject_of
from app.rules.time_bound import judge, year_of
from app.settings import Settings

_ROW = "{:<12}{}"


@dataclass(frozen=True, slots=True)
class Passed:
    """A rule that does not apply, and the first criterion that the request does not match."""

    number: int
    name: str
    criterion: Criterion


@dataclass(frozen=True, slots=True)
class Terms:
    """The values that apply to a request. Lifetimes are in seconds.

    `max_error_rate` is None if the verifier is off. `max_distance` is None if the greatest distance
    comes from the verifier's calibration.
    """

    tier: str
    ttl: float
    stale_while_revalidate: float
    stale_if_error: float
    max_error_rate: float | None
    max_distance: float | None


@dataclass(frozen=True, slots=True)
class Check:
    """The rule that applies to a request, the earlier rules, and the terms that result.

    `number` (from 1) and `name` are those of the rule that applies; None if no rule applies.
    `passed` has the earlier rules, which do not apply. `bypass` is the reason why the request would
    bypass the cache; None if it would not.
    """

    subject: Subject
    number: int | None
    name: str | None
    passed: Sequence[Passed]
    terms: Terms
    mode: str
    bypass: str | None = None

    def document(self) -> JsonObject:
        """Return the check as JSON values."""
        terms = self.terms
        return {
            "model": self.subject.model,
            "namespace": self.subject.namespace,
            "path": self.subject.path,
            "rule": None if self.name is None else {"number": self.number, "name": self.name},
            "passed": [
                {"number": rule.number, "name": rule.name, "differs": rule.criterion}
                for rule in self.passed
            ],
            "tier": terms.tier,
            "ttl": terms.ttl,
            "stale_while_revalidate": terms.stale_while_revalidate,
            "stale_if_error": terms.stale_if_error,
            "max_error_rate": terms.max_error_rate,
            "max_distance": terms.max_distance,
            "mode": self.mode,
            "bypass": self.bypass,
        }

    def __str__(self) -> str:
        terms = self.terms
        met = "none, so the settings apply" if self.name is None else f"{self.number} {self.name}"
        told = [("rule", met)]
        told += [
            ("passed", f"{p.number} {p.name}: its {p.criterion} does not match")
            for p in self.passed
        ]
        told.append(("tier", terms.tier if not self.bypass else f"off: {self.bypass}"))
        if terms.tier != "off" and not self.bypass:
            told.append(("ttl", f"{terms.ttl:g} s"))
            stale = f"{terms.stale_while_revalidate:g} s, {terms.stale_if_error:g} s on errors"
            told.append(("stale", stale))
        if terms.tier == "semantic" and not self.bypass:
            if terms.max_error_rate is not None:
                told.append(("dial", f"{terms.max_error_rate:g}"))
            if terms.max_distance is not None:
                told.append(("distance", f"{terms.max_distance:g}"))
        if self.mode != "serve":
            told.append(("mode", self.mode))
        return "\n".join(_ROW.format(*row) for row in told)


def check_named(settings: Settings, model: str, namespace: str, path: str | None) -> Check:
    """Check a request by its model, namespace and path. Raises BadInput or ConfigurationError."""
    where = _path_of(path or CHAT_COMPLETIONS)
    policy = policy_for(settings, None)
    request = ClientRequest("POST", where.path, b"", (), prefix=where.prefix)
    subject = subject_of(request, model, namespace)
    rule = rule_for(policy.rules, subject)
    limits = policy.limits_by(rule)
    tier = (rule and rule.tier) or "semantic"
    return _check(policy, subject, _terms(settings, rule, limits, tier), None)


def check_request(settings: Settings, document: bytes) -> Check:
    """Check the request that a JSON document describes.

    The document is the request's body, or it is `{"request": …, "headers": …, "route": …}` with the
    request's body, headers and route. Raises BadInput or ConfigurationError.
    """
    body, headers, path = _read(document)
    where, policy = _path_of(path), policy_for(settings, None)
    dialect = _dialect(settings, path)
    request = ClientRequest("POST", where.path, b"", headers, body, where.prefix)
    try:
        model = dialect.parse(body).model
    except NotUnderstood as error:
        raise BadInput(f"the request cannot be understood: {error.detail}") from None
    plan = decisions.admit(dialect, request, body, policy)
    namespace = ", ".join(value.decode("latin-1") for name, value in headers if name == NAMESPACE)
    subject = subject_of(request, model, namespace)
    rule = rule_for(policy.rules, subject)
    limits, asked = policy.limits_by(rule), None
    tier, bypass = "off", plan.reason if isinstance(plan, Bypass) else None
    if isinstance(plan, EmbeddingsPlan):
        tier, limits = "exact", plan.limits
    elif isinstance(plan, Plan):
        now = time.time()
        plan = decisions.bound_to_time(plan, judge(plan.parsed.question, year_of(now)), now)
        tier, limits = "exact" if plan.text is None else "semantic", plan.limits
        asked = plan.asked.max_distance
        bypass = "must-be-new" if wants_new(plan.parsed) else None
    return _check(policy, subject, _terms(settings, rule, limits, tier, asked), bypass)


def _check(policy: Policy, subject: Subject, terms: Terms, bypass: str | None) -> Check:
    passed: list[Passed] = []
    for number, rule in enumerate(policy.rules, 1):
        criterion = rule.misfit(subject)
        if criterion is None:
            return Check(subject, number, rule.name, passed, terms, policy.mode.value, bypass)
        passed.append(Passed(number, rule.name, criterion))
    return Check(subject, None, None, passed, terms, policy.mode.value, bypass)


def _terms(
    settings: Settings, rule: Rule | None, limits: Limits, tier: str, asked: float | None = None
) -> Terms:
    """Return the terms that result from `rule`.

    `asked` is the greatest distance that the request itself allows; None if it sets no limit.
    """
    distances = (settings.max_distance, rule.max_distance if rule else None, asked)
    dial = strictest(settings.max_error_rate, rule.max_error_rate if rule else None)
    return Terms(
        tier,
        limits.ttl,
        limits.stale_while_revalidate,
        limits.stale_if_error,
        None if settings.verifier == "off" else dial,
        min((distance for distance in distances if distance is not None), default=None),
    )


def _path_of(path: str) -> ApiPath:
    known = api_path(path.encode())
    if known is None or route_of(path) is None:
        raise BadInput(f"{path} is not cached: {', '.join(CACHED)}")
    return known


def _dialect(settings: Settings, path: str) -> Dialect:
    route = route_of(path) or CHAT_COMPLETIONS
    return DEPLOYED[route] if "/deployments/" in path else dialects_for(settings)[route]


def _read(document: bytes) -> tuple[bytes, list[Header], str]:
    """Return the body, headers and path of the request that a JSON document describes.

    Raises BadInput.
    """
    try:
        told: Any = load_json(document)
    except NotUnderstood as error:
        raise BadInput(f"standard input: {error.detail}") from None
    if not isinstance(told, dict):
        raise BadInput("standard input: not a JSON object")
    if "request" not in told or "messages" in told:
        return document, [], CHAT_COMPLETIONS
    headers, path = told.get("headers", {}), told.get("route", CHAT_COMPLETIONS)
    if not isinstance(headers, dict) or not isinstance(path, str):
        raise BadInput("standard input: headers must be an object, and route a string")
    lines = [(str(name).lower().encode(), str(value).encode()) for name, value in headers.items()]
    return json.dumps(told["request"]).encode(), lines, path
