"""What of all that is found answers: everything, exact matches only, or nothing yet."""

from enum import StrEnum

from app.core.cache_status import Tier


class Mode(StrEnum):
    """Which tiers answer. The others are in shadow: looked up and stored, told and not served."""

    SERVE = "serve"
    SERVE_EXACT = "serve-exact"
    SHADOW = "shadow"

    def serves(self, tier: Tier | None) -> bool:
        """Whether what was found in this way answers."""
        match self:
            case Mode.SERVE:
                return True
            case Mode.SERVE_EXACT:
                return tier is Tier.EXACT
            case Mode.SHADOW:
                return False
