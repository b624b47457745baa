"""The switches by which a test changes the behaviour of a running stand-in."""

from dataclasses import dataclass


@dataclass
class Switches:
    """How the module behaves. Times are in seconds.

    `search_seconds` is what every search takes; with a TIMEOUT below it, it times out.
    `backfill_seconds` is how long a new index waits before it looks at the hashes that are there;
    it then takes in the share `backfill_share` of them, and the rest when the share is raised.
    `refusal` is an error that commands get while it is set, such as "LOADING …".
    """

    loaded: bool = True
    refusal: str = ""
    search_seconds: float = 0.0
    backfill_seconds: float = 0.1
    backfill_share: float = 1.0
