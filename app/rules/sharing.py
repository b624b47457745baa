"""What callers who share all answers may do to each other's."""

from app.core.models import Fullness, StoredResponse


def stays_for_others(stored: StoredResponse | None, entitled: Fullness, now: float) -> bool:
    """Whether the answer to the very same request is fresh, and as full as a new one would be.

    Then it stays, whatever made a request pass it over (`no-cache`, `max-age`, a tag of its own):
    else one could ask until an answer is as he likes it, and have all others served that one.
    """
    return stored is not None and stored.is_fresh(now) and stored.fullness >= entitled
