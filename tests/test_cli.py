"""The commands, as processes."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
REPRISE = [sys.executable, "-m", "app"]
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith("REPRISE_")},
    "PYTHONPATH": str(ROOT),
    "REPRISE_UPSTREAM_URL": "simulated://",
}


@dataclass
class Served:
    """A running `reprise serve`: what it wrote before it listened, where, and what follows."""

    process: subprocess.Popen[str]
    before: list[str]
    url: str

    def read_line(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.readline()


@contextmanager
def serving(tmp_path: Path, *args: str, **environment: str) -> Iterator[Served]:
    """Run `reprise serve` on a free port."""
    process = subprocess.Popen(
        [*REPRISE, "serve", "--port", "0", *args],
        cwd=tmp_path,
        env={**ENVIRONMENT, **environment},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        lines = [process.stderr.readline()]
        while "listens on" not in lines[-1]:
            assert lines[-1], "ended before it listened"
            lines.append(process.stderr.readline())
        yield Served(process, lines[:-1], lines[-1].split()[-1])
    finally:
        process.kill()
        process.communicate()


def run(tmp_path: Path, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*REPRISE, *args],
        cwd=tmp_path,
        env={**ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def ask(url: str) -> dict[str, str]:
    body = {"model": "m", "messages": [{"role": "user", "content": "What is Valkey?"}]}
    request = urllib.request.Request(f"{url}/chat/completions", json.dumps(body).encode())
    with urllib.request.urlopen(request) as response:
        response.read()
        return dict(response.headers)


def test_serve_says_where_and_with_what_and_answers(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/v1", served.url)
        assert [served.read_line().split() for _ in range(3)] == [
            ["store", "memory://"],
            ["embedder", "local"],
            ["upstream", "simulated://"],
        ]
        assert ask(served.url)["x-cache"] == "MISS"
        assert ask(served.url)["x-cache"] == "HIT"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_good_order(tmp_path: Path, number: signal.Signals) -> None:
    with serving(tmp_path) as served:
        ask(served.url)
        served.process.send_signal(number)
        assert served.process.wait(timeout=10) == 0


def test_what_is_in_flight_is_finished_first(tmp_path: Path) -> None:
    slow = {"REPRISE_UPSTREAM_URL": "simulated://?delay_ms=1000"}
    client = [sys.executable, "-c", ASK]
    with (
        serving(tmp_path, **slow) as served,
        subprocess.Popen([*client, served.url], stdout=subprocess.PIPE, text=True) as asking,
    ):
        assert asking.stdout is not None
        assert asking.stdout.readline() == "sent\n"
        served.process.send_signal(signal.SIGTERM)
        assert asking.stdout.readline() == "200 MISS\n"
        assert served.process.wait(timeout=10) == 0


ASK = """
import http.client, json, sys, urllib.parse
url = urllib.parse.urlsplit(sys.argv[1])
connection = http.client.HTTPConnection(url.netloc)
body = {"model": "m", "messages": [{"role": "user", "content": "What is Valkey?"}]}
connection.request("POST", url.path + "/chat/completions", json.dumps(body))
print("sent", flush=True)
response = connection.getresponse()
response.read()
print(response.status, response.headers["x-cache"])
"""


def test_a_bad_setting_stops_the_start_with_one_line(tmp_path: Path) -> None:
    done = run(tmp_path, "serve", REPRISE_MAX_DISTANCE="far")
    assert done.returncode == 2
    assert done.stderr == (
        "reprise: REPRISE_MAX_DISTANCE='far' is not allowed: a cosine distance from 0 to 2\n"
    )


def test_an_upstream_that_cannot_be_stops_the_start_with_one_line(tmp_path: Path) -> None:
    done = run(tmp_path, "serve", REPRISE_UPSTREAM_URL="http://xn--.com/v1")
    assert done.returncode == 2
    assert done.stderr.startswith("reprise: REPRISE_UPSTREAM_URL=http://xn--.com/v1: ")
    assert len(done.stderr.splitlines()) == 1


def test_a_port_in_use_stops_the_start_with_one_line(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        port = served.url.split(":")[2].partition("/")[0]
        done = run(tmp_path, "serve", "--port", port)
    assert done.returncode == 2
    assert done.stderr.startswith(f"reprise: REPRISE_HOST=127.0.0.1 REPRISE_PORT={port}: ")
    assert len(done.stderr.splitlines()) == 1


def test_an_unknown_setting_is_pointed_out(tmp_path: Path) -> None:
    with serving(tmp_path, REPRISE_LOG_FORMAT="json", REPRISE_MAX_DISTNCE="0.1") as served:
        (line,) = served.before
    assert json.loads(line)["message"] == (
        "REPRISE_MAX_DISTNCE is not a setting and is ignored; did you mean REPRISE_MAX_DISTANCE?"
    )


def test_demo_shows_a_miss_a_hit_and_a_miss(tmp_path: Path) -> None:
    done = run(tmp_path, "demo", REPRISE_API_KEYS="ignored", REPRISE_PORT="ignored too")
    assert done.returncode == 0, done.stderr
    _, *rows = done.stdout.splitlines()
    assert [re.split(r"\s{2,}", row)[:3] for row in rows] == [
        ["What is Valkey?", "miss (upstream)", "-"],
        ["Can you explain what Valkey is?", "hit (semantic)", rows[1].split()[-3]],
        ["How do I cook pasta?", "miss (upstream)", "-"],
    ]
    assert 0.03 < float(rows[1].split()[-3]) < 0.05


def test_help_names_the_commands(tmp_path: Path) -> None:
    done = run(tmp_path, "--help")
    assert done.returncode == 0
    for command in ("serve", "demo"):
        assert command in done.stdout
