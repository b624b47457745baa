"""Which hits are served: all, exact matches only, or none (shadow mode)."""

from enum import StrEnum

from app.core.cache_status import Tier


class Mode(StrEnum):
    """Which hits are served: all, exact matches only, or none.

    If a hit is not served, the upstream answers the request, and the hit is only reported (shadow).
    Answers are looked up and stored in every mode.
    """

    SERVE = "serve"
    SERVE_EXACT = "serve-exact"
    SHADOW = "shadow"

    def serves(self, tier: Tier | None) -> bool:
        """Whether a hit of this tier (exact, or by meaning) is served."""
        match self:
            case Mode.SERVE:
                return True
            case Mode.SERVE_EXACT:
                return tier is Tier.EXACT
            case Mode.SHADOW:
                return False
