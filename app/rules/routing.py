"""The operator's rules for some models, namespaces or paths: the first matching rule is used.

Rules of this file: a rule is chosen only by model, namespace and path. These three are part of the
partition, so requests that may share an answer always get the same rule. Callers choose model,
namespace and path, so no rule may allow more wrong hits than the deployment: a rule can only lower
the dial and the distance.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Literal
from urllib.parse import unquote_to_bytes

from app.core.models import V1, ClientRequest
from app.rules.limits import Limits

RuleTier = Literal["off", "exact", "semantic"]
"""Which hits are served: none, exact matches only, or also hits by meaning."""

Criterion = Literal["model", "namespace", "path"]

_DEPLOYMENT = re.compile(rb"/deployments/([^/]+)(/.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Subject:
    """The properties of a request by which its rule is chosen.

    `path` always begins with `/v1`, even if the client used another prefix.
    """

    model: str
    namespace: str
    path: str


@dataclass(frozen=True, slots=True)
class Rule:
    """The operator's values for the requests of some models, namespaces and paths.

    If a value is None, the deployment's value is used.

    `model`, `namespace`, `path`: patterns (globs). For each of these properties, a
    request must match at least one pattern. If a property has no patterns, any value matches.
    `tier`: which hits are served.
    `ttl`, `stale_while_revalidate`, `stale_if_error`: in seconds.
    `max_distance`: the greatest cosine distance.
    `max_error_rate`: the share of hits by meaning that may be wrong.
    `min_probability`: the least probability that the verifier must give. It is computed from
    `max_error_rate`.
    """

    name: str
    model: tuple[str, ...] = ()
    namespace: tuple[str, ...] = ()
    path: tuple[str, ...] = ()
    tier: RuleTier | None = None
    ttl: float | None = None
    max_error_rate: float | None = None
    max_distance: float | None = None
    stale_while_revalidate: float | None = None
    stale_if_error: float | None = None
    min_probability: float = 0.0

    def misfit(self, subject: Subject) -> Criterion | None:
        """Return the first criterion that `subject` does not match; None if it matches all."""
        asked: tuple[tuple[Criterion, tuple[str, ...], str], ...] = (
            ("model", self.model, subject.model),
            ("namespace", self.namespace, subject.namespace),
            ("path", self.path, subject.path),
        )
        for criterion, globs, value in asked:
            if globs and not any(fnmatchcase(value, glob) for glob in globs):
                return criterion
        return None

    @property
    def meets_all(self) -> bool:
        """Whether the rule applies to every request."""
        return all(not globs or "*" in globs for globs in (self.model, self.namespace, self.path))


def subject_of(request: ClientRequest, model: str, namespace: str) -> Subject:
    """Return the subject of a request.

    If the path names an Azure deployment, the subject's model is the name of the deployment.
    """
    path = request.path
    if match := _DEPLOYMENT.fullmatch(path):
        model, path = unquote_to_bytes(match[1]).decode("utf-8", "replace"), match[2]
    return Subject(model, namespace, (V1 + path).decode("latin-1"))


def rule_for(rules: Sequence[Rule], subject: Subject) -> Rule | None:
    """Return the first rule that matches a request, or None."""
    return next((rule for rule in rules if rule.misfit(subject) is None), None)


def ruled(limits: Limits, rule: Rule | None, *, all_share: bool) -> Limits:
    """Return the limits for requests to which `rule` applies; None stands for no rule.

    If all callers share answers (`all_share`), no client may ask for a longer freshness lifetime
    than the rule's `ttl`. If the rule has no `ttl`, the deployment's `ttl` is used in its place.
    """
    if rule is None:
        return limits
    ttl = limits.ttl if rule.ttl is None else rule.ttl
    revalidate, error = rule.stale_while_revalidate, rule.stale_if_error
    return replace(
        limits,
        ttl=ttl,
        max_ttl=min(limits.max_ttl, ttl) if all_share else limits.max_ttl,
        stale_while_revalidate=limits.stale_while_revalidate if revalidate is None else revalidate,
        stale_if_error=limits.stale_if_error if error is None else error,
        max_distance=strictest(limits.max_distance, rule.max_distance),
        min_probability=max(limits.min_probability, rule.min_probability),
    )


def strictest(most: float, asked: float | None) -> float:
    """Return the lower of two upper limits. If `asked` is None, return `most`."""
    return most if asked is None else min(most, asked)
