"""The formats of log lines: text or JSON. Logs never contain prompts, answers or keys."""

import json
import logging
from datetime import UTC, datetime
from typing import Any

_QUIET = ("uvicorn", "uvicorn.error", "httpx", "asyncio")

# Messages of uvicorn that are left out: responses cut off on purpose, and refused WebSockets.
_KNOWN = ("ASGI callable returned without completing", "Unsupported upgrade", "No supported WebS")


class TextFormatter(logging.Formatter):
    """Writes a record as one line: time, level, logger, message, and each field as `name=value`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as one line of text."""
        parts = [_time(record), record.levelname.lower(), record.name, record.getMessage()]
        parts += [f"{name}={value}" for name, value in _fields(record).items() if value != ""]
        return " ".join(parts)


class JsonFormatter(logging.Formatter):
    """Writes a record as one JSON object on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as one line of JSON."""
        document = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        return json.dumps(document)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields: dict[str, Any] = getattr(record, "fields", {})
    return fields


def configure_logging(level: str, form: str) -> None:
    """Send this process's log records of at least the level `level` to standard error.

    The lines are JSON if `form` is `json`; otherwise they are text.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    least = max(logging.WARNING, logging.getLevelNamesMapping()[level.upper()])
    for name in _QUIET:
        logging.getLogger(name).setLevel(least)
    logging.getLogger("uvicorn.error").addFilter(
        lambda record: not record.getMessage().startswith(_KNOWN)
    )
