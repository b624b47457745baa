import json
import logging

import pytest

from app.core.logs import JsonFormatter, TextFormatter, configure_logging


def record(**fields: object) -> logging.LogRecord:
    line = logging.LogRecord("reprise.access", logging.INFO, "f.py", 1, "a %s", ("b",), None)
    line.created = 1_700_000_000.123
    line.fields = fields
    return line


def test_a_text_line_is_for_people() -> None:
    assert TextFormatter().format(record(status=200, tier="")) == (
        "2023-11-14T22:13:20.123+00:00 info reprise.access a b status=200"
    )


def test_a_json_line_is_for_machines() -> None:
    assert json.loads(JsonFormatter().format(record(status=200, path="/v1/a\nb"))) == {
        "time": "2023-11-14T22:13:20.123+00:00",
        "level": "info",
        "logger": "reprise.access",
        "message": "a b",
        "status": 200,
        "path": "/v1/a\nb",
    }


@pytest.fixture
def restored_logging() -> object:
    root = logging.getLogger()
    others = [logging.getLogger(n) for n in ("uvicorn", "uvicorn.error", "httpx", "asyncio")]
    levels = [logger.level for logger in others]
    before = (root.level, list(root.handlers), list(logging.getLogger("uvicorn.error").filters))
    yield
    root.setLevel(before[0])
    root.handlers[:] = before[1]
    logging.getLogger("uvicorn.error").filters[:] = before[2]
    for logger, level in zip(others, levels, strict=True):
        logger.setLevel(level)


@pytest.mark.usefixtures("restored_logging")
def test_lines_below_the_level_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("warning", "json")
    logging.getLogger("reprise").info("quiet")
    logging.getLogger("reprise").warning("loud")
    error = logging.getLogger("uvicorn.error")
    error.error("ASGI callable returned without completing response.")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["message"] for line in lines] == ["loud"]


@pytest.mark.usefixtures("restored_logging")
@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("debug", ["a warning", "an error"]),
        ("warning", ["a warning", "an error"]),
        ("error", ["an error"]),
    ],
)
def test_libraries_write_from_the_level_up_and_warnings_at_most(
    level: str, expected: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging(level, "json")
    server = logging.getLogger("uvicorn.error")
    server.info("an info")
    server.warning("a warning")
    server.error("an error")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["message"] for line in lines] == expected
