"""The operator's rules for requests of some models, namespaces or paths: the first that fits holds.

Rules of this file: a rule is chosen by what must match exactly anyway (model, namespace, path), so
requests that may share an answer always meet the same one. Since it is the caller who names these,
no rule makes a hit by meaning likelier to be wrong than the deployment allows: its dial and its
distance only ever tighten.
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
"""What answers: nothing, the very same request alone, or also what means the same."""

Criterion = Literal["model", "namespace", "path"]

_DEPLOYMENT = re.compile(rb"/deployments/([^/]+)(/.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Subject:
    """What rules look at. `path` begins with `/v1`, however the client's base URL was written."""

    model: str
    namespace: str
    path: str


@dataclass(frozen=True, slots=True)
class Rule:
    """What holds for requests of some models, namespaces and paths.

    These are globs, of which one must match; empty: any will do. What is None stays as the
    deployment has it. `max_distance` is cosine, `max_error_rate` the share of hits by meaning that
    may be wrong, `min_probability` what the verifier must give for that; the rest is in seconds.
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
        """Return the first criterion that a request does not meet; None if it meets the rule."""
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
        """Whether every request meets it."""
        return all(not globs or "*" in globs for globs in (self.model, self.namespace, self.path))


def subject_of(request: ClientRequest, model: str, namespace: str) -> Subject:
    """Return what rules look at. Where the path names a deployment, that is the model."""
    path = request.path
    if match := _DEPLOYMENT.fullmatch(path):
        model, path = unquote_to_bytes(match[1]).decode("utf-8", "replace"), match[2]
    return Subject(model, namespace, (V1 + path).decode("latin-1"))


def rule_for(rules: Sequence[Rule], subject: Subject) -> Rule | None:
    """Return the first rule that a request meets, or None."""
    return next((rule for rule in rules if rule.misfit(subject) is None), None)


def ruled(limits: Limits, rule: Rule | None, *, all_share: bool) -> Limits:
    """Return the limits of requests that meet a rule.

    Where all share answers, no client may keep one for longer than the rule says.
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
    """Return the lesser of two bounds, the second of which may be missing."""
    return most if asked is None else min(most, asked)
