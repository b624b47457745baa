"""Which hits are served: all, exact matches only, or none (shadow mode)."""

from enum import StrEnum

from app.core.cache_status import Tier


class Mode(StrEnum):
    """Which tiers of hits are served.

    The other tiers are in shadow: answers are looked up, stored and reported, but not served.
    """

    SERVE = "serve"
    SERVE_EXACT = "serve-exact"
    SHADOW = "shadow"

    def serves(self, tier: Tier | None) -> bool:
        """Whether a hit of this tier is served."""
        match self:
            case Mode.SERVE:
                return True
            case Mode.SERVE_EXACT:
                return tier is Tier.EXACT
            case Mode.SHADOW:
                return False
