"""Which entries an operator means: by what they are called, or by what their questions mean."""

from dataclasses import dataclass, field

import numpy as np

from app.core.callers import is_named
from app.core.models import Embedding
from app.core.tags import Tagging

_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Near:
    """What means about the same as a text; `max_distance` is cosine."""

    embedding: Embedding = field(repr=False)
    max_distance: float

    def distance(self, embedding: Embedding) -> float:
        """Return the cosine distance of an embedding: 0 = same but for rounding."""
        distance = 1.0 - float(np.dot(self.embedding, embedding))
        return 0.0 if distance < _ROUNDING else min(distance, 2.0)


@dataclass(frozen=True, slots=True)
class Selector:
    """Entries with this tag, model and namespace, near this text; None selects all.

    `upstream_ids` are ids under which the upstream keeps answers; `caller` is a name of who asked.
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
        """Whether an entry is meant. Without `near`, its embedding does not matter.

        An entry that has none, since it answers the very same question only, is near nothing.
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
