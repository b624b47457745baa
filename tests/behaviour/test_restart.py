"""After a restart, a proxy still has the answers that it gave before, however it ended."""

import json
import signal
from pathlib import Path

import pytest

from tests.test_cli import ask, run, serving

STORE = {"REPRISE_STORE": "sqlite:///cache.db", "REPRISE_VERIFIER": "off"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_answer_survives_the_end_of_the_proxy(tmp_path: Path, number: signal.Signals) -> None:
    with serving(tmp_path, **STORE) as served:
        assert served.read_line().split() == ["store", "sqlite:///cache.db"]
        assert ask(served.url)["x-cache"] == "MISS"
        assert ask(served.url)["x-cache"] == "HIT"
        served.process.send_signal(number)
        served.process.wait(timeout=10)
    with serving(tmp_path, **STORE) as served:
        assert ask(served.url)["x-cache"] == "HIT"


def test_a_second_proxy_on_the_same_file_does_not_start(tmp_path: Path) -> None:
    with serving(tmp_path, **STORE):
        done = run(tmp_path, "serve", "--port", "0", **STORE)
    assert done.returncode == 2
    assert done.stderr == (
        "reprise: REPRISE_STORE=sqlite:///cache.db: another process has it open\n"
    )


def test_a_folder_that_is_not_there_stops_the_start_with_one_line(tmp_path: Path) -> None:
    done = run(tmp_path, "serve", REPRISE_STORE="sqlite:///none/cache.db")
    assert done.returncode == 2
    assert done.stderr == (
        "reprise: REPRISE_STORE=sqlite:///none/cache.db: cannot be opened:"
        " No such file or directory\n"
    )


def test_a_damaged_file_is_set_aside_and_the_proxy_starts(tmp_path: Path) -> None:
    (tmp_path / "cache.db").write_text("This is no database.")
    with serving(tmp_path, REPRISE_LOG_FORMAT="json", **STORE) as served:
        (line,) = served.before
        assert ask(served.url)["x-cache"] == "MISS"
        assert ask(served.url)["x-cache"] == "HIT"
    assert "cache.db is damaged; it was renamed to cache.db.corrupt-" in json.loads(line)["message"]
