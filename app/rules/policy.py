"""What a deployment decides about requests, in one value."""

from dataclasses import dataclass

from app.rules.cacheability import Limits
from app.rules.key import KeyRules


@dataclass(frozen=True, slots=True)
class Policy:
    """What a deployment decides about requests."""

    keys: KeyRules
    limits: Limits
