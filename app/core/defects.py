"""Defects of our own: logged where they are survived."""

import logging
import traceback

_logger = logging.getLogger("reprise")


def log_defect(error: Exception) -> None:
    """Log what happened where, without the error's message: it may hold a prompt or a key."""
    trace = "".join(traceback.format_tb(error.__traceback__))
    _logger.error("defect: %s\n%s", type(error).__name__, trace)
