"""What all of the engine shares."""

from dataclasses import dataclass

from app.core.metrics import Metrics
from app.core.models import Clock
from app.rules.limits import Limits
from app.rules.plan import Policy


@dataclass(frozen=True, slots=True)
class Context:
    """The operator's policy, where things are counted, and what tells the time."""

    policy: Policy
    metrics: Metrics
    clock: Clock

    @property
    def limits(self) -> Limits:
        """What the operator allows."""
        return self.policy.limits
