"""What holds for the whole test run."""

import gc
import logging

from hypothesis import HealthCheck, settings

# How long an example takes says more about the machine than about the code.
settings.register_profile("reprise", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("reprise")

# The client's own lines are of no interest.
for name in ("httpx", "httpcore", "httpx2", "httpcore2", "openai"):
    logging.getLogger(name).setLevel(logging.WARNING)


def pytest_collection_finish() -> None:
    """Keep the collector from going through all modules again and again.

    It takes half a second once all are there, in which a server in a thread of its own is silent.
    """
    gc.collect()
    gc.freeze()
