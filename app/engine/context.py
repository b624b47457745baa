"""What all of the engine shares."""

from dataclasses import dataclass, field

from app.core.inflight import Inflight
from app.core.metrics import Metrics
from app.core.models import Clock
from app.rules.limits import Limits
from app.rules.plan import Policy


@dataclass(frozen=True, slots=True)
class Context:
    """The operator's policy, where things are counted, what tells the time, what is on its way."""

    policy: Policy
    metrics: Metrics
    clock: Clock
    inflight: Inflight = field(default_factory=Inflight)

    @property
    def limits(self) -> Limits:
        """What the operator allows."""
        return self.policy.limits
