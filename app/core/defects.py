"""Logs errors that are bugs in Reprise. The caller catches the error, so the request can go on."""

import logging
import traceback

_logger = logging.getLogger("reprise")


def log_defect(error: Exception) -> None:
    """Log the type and traceback of an error.

    The message of the error is not logged, because the message may contain a prompt or a key.
    """
    trace = "".join(traceback.format_tb(error.__traceback__))
    _logger.error("defect: %s\n%s", type(error).__name__, trace)
