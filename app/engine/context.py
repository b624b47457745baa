"""Values that all parts of the engine share."""

from dataclasses import dataclass, field

from app.core.inflight import Inflight
from app.core.metrics import Metrics
from app.core.models import Clock
from app.rules.limits import Limits
from app.rules.plan import Policy


@dataclass(frozen=True, slots=True)
class Context:
    """The operator's policy, the metrics, the clock, and the count of bytes held in memory."""

    policy: Policy
    metrics: Metrics
    clock: Clock
    inflight: Inflight = field(default_factory=Inflight)

    @property
    def limits(self) -> Limits:
        """The limits set by the operator."""
        return self.policy.limits
