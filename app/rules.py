"""What a deployment decides about requests, in one value."""

from dataclasses import dataclass

from app.key import KeyRules
from app.policy import Limits


@dataclass(frozen=True, slots=True)
class Rules:
    """What a deployment decides about requests."""

    keys: KeyRules
    limits: Limits
