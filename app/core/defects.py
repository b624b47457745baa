"""The log entry for bugs of Reprise that are caught, so that the request can go on."""

import logging
import traceback

_logger = logging.getLogger("reprise")


def log_defect(error: Exception) -> None:
    """Log an error's type and traceback, but not its message, which may contain a prompt or key."""
    trace = "".join(traceback.format_tb(error.__traceback__))
    _logger.error("defect: %s\n%s", type(error).__name__, trace)
