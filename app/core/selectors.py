"""Selects the entries that an operator's request is about, by labels or by meaning."""

from dataclasses import dataclass, field

import numpy as np

from app.core.callers import is_named
from app.core.models import Embedding
from app.core.tags import Tagging

_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Near:
    """Selects entries whose question is near a text.

    `embedding` is the embedding of the text, `max_distance` the greatest cosine distance.
    """

    embedding: Embedding = field(repr=False)
    max_distance: float

    def distance(self, embedding: Embedding) -> float:
        """Return the cosine distance to another embedding, from 0 to 2.

        The result is 0 for a distance below a millionth, which may be a rounding error.
        """
        distance = 1.0 - float(np.dot(self.embedding, embedding))
        return 0.0 if distance < _ROUNDING else min(distance, 2.0)


@dataclass(frozen=True, slots=True)
class Selector:
    """Selects the entries that meet every condition. A condition that is None is ignored.

    `tag`, `model`, `namespace`: the entry has this tag, model or namespace.
    `near`: the entry's question is near this text.
    `upstream_ids`: the upstream keeps the entry's answer under one of these ids.
    `caller`: the entry was fetched for a caller with this name (`core/callers.py`).
    """

    tag: str | None = None
    model: str | None = None
    namespace: str | None = None
    near: Near | None = None
    upstream_ids: frozenset[str] | None = None
    caller: str | None = field(default=None, repr=False)

    def selects(
        self,
        model: str,
        tagging: Tagging,
        upstream_id: str,
        embedding: Embedding | None,
        caller: str = "",
    ) -> bool:
        """Whether the selector selects an entry with the given properties.

        `embedding` is used only if `near` is set. It is None if the entry is served for exact
        matches only; such an entry is not near any text.
        """
        if self.tag is not None and self.tag not in tagging.tags:
            return False
        if self.caller is not None and not is_named(caller, self.caller):
            return False
        if self.upstream_ids is not None and upstream_id not in self.upstream_ids:
            return False
        if self.model not in {None, model} or self.namespace not in {None, tagging.namespace}:
            return False
        if self.near is None:
            return True
        return embedding is not None and self.near.distance(embedding) <= self.near.max_distance


EVERYTHING = Selector()
