"""The commands, as processes."""

import contextlib
import csv
import gzip
import json
import os
import pty
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
from typer.testing import CliRunner

from app.cli.commands import commands

ROOT = Path(__file__).parent.parent
REPRISE = [sys.executable, "-m", "app"]
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith("REPRISE_")},
    "PYTHONPATH": str(ROOT),
    "REPRISE_UPSTREAM_URL": "simulated://",
}


@dataclass
class Served:
    """A running `reprise serve`: its output until it listens, its URL, and its later output."""

    process: subprocess.Popen[str]
    before: list[str]
    url: str

    def read_line(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.readline()


@contextmanager
def serving(tmp_path: Path, *args: str, **environment: str) -> Iterator[Served]:
    """Run `reprise serve` on a free port, without the verifier, so that a start is quick."""
    process = subprocess.Popen(
        [*REPRISE, "serve", "--port", "0", *args],
        cwd=tmp_path,
        env={**ENVIRONMENT, "REPRISE_VERIFIER": "off", **environment},
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


def start(tmp_path: Path, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command that sets up the logs of its process, to its end."""
    return subprocess.run(
        [*REPRISE, *args],
        cwd=tmp_path,
        env={**ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def run(tmp_path: Path, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in this process, because starting a process takes longer than most commands."""
    unset = {name: None for name in os.environ if name.startswith("REPRISE_")}
    upstream = {"REPRISE_UPSTREAM_URL": ENVIRONMENT["REPRISE_UPSTREAM_URL"]}
    with contextlib.chdir(tmp_path):
        done = CliRunner().invoke(commands, args, env={**unset, **upstream, **environment})
    return subprocess.CompletedProcess(args, done.exit_code, done.stdout, done.stderr)


def ask(url: str) -> dict[str, str]:
    body = {"model": "m", "messages": [{"role": "user", "content": "What is Valkey?"}]}
    request = urllib.request.Request(f"{url}/chat/completions", json.dumps(body).encode())
    with urllib.request.urlopen(request) as response:
        response.read()
        return dict(response.headers)


def test_the_start_tells_what_is_kept_back(tmp_path: Path) -> None:
    with serving(tmp_path, REPRISE_MODE="serve-exact") as served:
        told = [served.read_line() for _ in range(4)]
    assert told[-1].split() == ["mode", "serve-exact"]


def test_serve_says_where_and_with_what_and_answers(tmp_path: Path) -> None:
    with serving(tmp_path, REPRISE_ANTHROPIC_URL="http://127.0.0.1:9") as served:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/v1", served.url)
        assert [served.read_line().split() for _ in range(4)] == [
            ["store", "memory://"],
            ["embedder", "local"],
            ["upstream", "simulated://"],
            ["anthropic", "http://127.0.0.1:9/v1"],
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
    done = start(tmp_path, "serve", REPRISE_MAX_DISTANCE="far")
    assert done.returncode == 2
    assert done.stderr == (
        "reprise: REPRISE_MAX_DISTANCE='far' is not allowed: "
        "it must be a cosine distance from 0 to 2\n"
    )


def test_an_upstream_that_cannot_be_stops_the_start_with_one_line(tmp_path: Path) -> None:
    done = start(tmp_path, "serve", REPRISE_UPSTREAM_URL="http://xn--.com/v1")
    assert done.returncode == 2
    assert done.stderr.startswith("reprise: REPRISE_UPSTREAM_URL=http://xn--.com/v1: ")
    assert len(done.stderr.splitlines()) == 1


def test_a_port_in_use_stops_the_start_with_one_line(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        port = served.url.split(":")[2].partition("/")[0]
        done = start(tmp_path, "serve", "--port", port)
    assert done.returncode == 2
    assert done.stderr.startswith(f"reprise: REPRISE_HOST=127.0.0.1 REPRISE_PORT={port}: ")
    assert len(done.stderr.splitlines()) == 1


def test_an_unknown_setting_is_pointed_out(tmp_path: Path) -> None:
    with serving(tmp_path, REPRISE_LOG_FORMAT="json", REPRISE_MAX_DISTNCE="0.1") as served:
        (line,) = served.before
    assert json.loads(line)["message"] == (
        "REPRISE_MAX_DISTNCE is not a setting and is ignored; did you mean REPRISE_MAX_DISTANCE?"
    )


def test_a_retired_setting_is_named_with_what_holds_instead(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("REPRISE_REPLAY_CHUNK_DELAY_MS=5\n")
    with serving(tmp_path, REPRISE_LOG_FORMAT="json") as served:
        (line,) = served.before
    assert json.loads(line)["message"] == (
        "REPRISE_REPLAY_CHUNK_DELAY_MS is no longer a setting and is ignored: "
        "streams from the store are sent as fast as the client reads"
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


PAIRS = """
{"a": "What is Valkey?", "b": "Can you explain what Valkey is?", "same": 1}
{"a": "What is Valkey?", "b": "How do I cook pasta?", "same": 0}
"""
STREAM = """
{"prompt": "What is Valkey?", "answer_id": "Valkey"}
{"prompt": "Can you explain what Valkey is?", "answer_id": "Valkey"}
{"prompt": "How do I cook pasta?", "answer_id": "pasta"}
{"prompt": "How do I cook pasta?", "answer_id": "pasta"}
"""
HOSTILE = {
    "REPRISE_MAX_DISTANCE": "far",
    "REPRISE_MAX_ENTRIES": "1",
    "REPRISE_API_KEYS": "secret",
    "http_proxy": "http://127.0.0.1:9",
}


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    (tmp_path / "pairs.jsonl").write_text(PAIRS)
    (tmp_path / "stream.jsonl.gz").write_bytes(gzip.compress(STREAM.encode()))
    return tmp_path


def test_evaluate_prints_a_table_for_each_file(measured: Path) -> None:
    done = run(measured, "evaluate", "pairs.jsonl", "pairs.jsonl")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("pairs.jsonl: 2 pairs, 1 positives\n") == 2
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith("distance ")]
    assert [row[1] for row in rows] == ["0.05", "0.1", "0.15", "0.2", "0.25", "0.3"] * 2
    assert " ".join(rows[0][2:]) == "- 100.0 % [20.7, 100.0] 0.0 % [0.0, 79.3] 0.0 % [0.0, 79.3]"


def test_evaluate_writes_what_each_stage_reaches(measured: Path) -> None:
    done = run(measured, "evaluate", "pairs.jsonl", "pairs.jsonl", "--curves", "reached.csv")
    assert (done.returncode, done.stderr) == (0, "")
    rows = list(csv.DictReader((measured / "reached.csv").read_text().splitlines()))
    assert {row["file"] for row in rows} == {"pairs.jsonl"}
    assert {"distance", "all"} <= {row["stage"] for row in rows}


def test_curves_that_cannot_be_written_are_told_in_one_line(measured: Path) -> None:
    done = run(measured, "evaluate", "pairs.jsonl", "--curves", "nowhere/reached.csv")
    assert done.returncode == 2
    assert done.stderr == "reprise: nowhere/reached.csv: No such file or directory\n"


def test_the_benchmark_measures_these_settings_beside_the_rules_of_others(tmp_path: Path) -> None:
    options = ("--sample", "3", "--error-rate", "0.05")
    done = run(tmp_path, "evaluate", "--benchmark", *options, REPRISE_MAX_ERROR_RATE="0.2")
    assert (done.returncode, done.stderr) == (0, "")
    title, head, *rows = done.stdout.splitlines()
    assert title.startswith("dev.jsonl.gz: 3 groups, ")
    assert re.split(r"\s{2,}", head.strip())[:2] == ["rule", "limit"]
    told = [re.split(r"\s{2,}", row.strip())[:2] for row in rows[:5]]
    peers = [["tutorial", "0.15 apart"], ["LangChain", "0.2 apart"], ["GPTCache", "0.4 apart"]]
    assert told == [["reprise", "dial 0.05"], ["reprise", "dial 0.2"], *peers]
    assert "AUC of the verifier" in done.stdout
    off = {"REPRISE_VERIFIER": "off", "REPRISE_GUARDS": "off"}
    done = run(tmp_path, "evaluate", "--benchmark", "--sample", "3", "--json", **off)
    document = json.loads(done.stdout)
    assert (document["file"], document["groups"]) == ("dev.jsonl.gz", 3)
    ours, tutorial, *_ = document["rules"]
    figures = {name: ours[name] for name in ours if name not in {"rule", "limit"}}
    assert figures == {name: tutorial[name] for name in figures}  # this is how tutorials do it


def test_a_calibration_is_made_and_used(tmp_path: Path) -> None:
    lines = [
        {"questions": [f"{how} {what}?" for how in ("What is", "Can you explain what is")]}
        for what in ("Valkey", "a proxy", "a cache", "a loaf of bread", "jazz")
    ]
    text = "".join(json.dumps({**line, "near": []}) + "\n" for line in lines * 6)
    (tmp_path / "groups.jsonl").write_text(text)
    made = run(tmp_path, "calibrate", "groups.jsonl", "-o", "own.json", "--shuffles", "1")
    assert (made.returncode, made.stderr) == (0, "")
    assert "0.01 takes 268 hits, none of them wrong" in made.stdout
    (known,) = json.loads((tmp_path / "own.json").read_text()).values()
    assert known["thresholds"] == []  # five hits show nothing
    own = {"REPRISE_VERIFIER_CALIBRATION": "own.json"}
    used = run(tmp_path, "evaluate", "--benchmark", "--sample", "2", "--json", **own)
    assert used.returncode == 0
    assert json.loads(used.stdout)["rules"][0]["rewordings_served"]["count"] == 0


def test_replay_prints_a_table_for_each_file(measured: Path) -> None:
    scale = ("--distance", "0", "--distance", "0.1", "--error-rate", "0.05")
    done = run(measured, "replay", "stream.jsonl.gz", *scale)
    assert (done.returncode, done.stderr) == (0, "")
    title, head, *rows = done.stdout.splitlines()
    assert title == "stream.jsonl.gz: 4 requests, 2 ideal hits"
    assert re.split(r"\s{2,}", head.strip()) == [
        "stage",
        "distance",
        "error rate",
        "hit rate",
        "wrong among hits",
        "ideal hits taken",
        "right per request",
    ]
    assert [row.split()[:4] for row in rows if row] == [
        ["distance", "0.0", "-", "25.0"],
        ["distance", "0.1", "-", "50.0"],
        ["guards", "0.0", "-", "25.0"],
        ["guards", "0.1", "-", "50.0"],
        ["verifier", "0.6", "0.05", "50.0"],
        ["all", "0.6", "0.05", "50.0"],
    ]


@pytest.mark.parametrize(
    ("command", "file", "figures"),
    [
        ("evaluate", "pairs.jsonl", {"recall", "negatives_served", "wrong_among_served"}),
        (
            "replay",
            "stream.jsonl.gz",
            {"hit_rate", "wrong_among_hits", "ideal_hits_taken", "right_per_request"},
        ),
    ],
)
def test_figures_for_machines_are_one_document_whatever_the_environment(
    measured: Path, command: str, file: str, figures: set[str]
) -> None:
    done = run(measured, command, "--json", "--distance", "0.1", file, file, **HOSTILE)
    assert (done.returncode, done.stderr) == (0, "")
    first, second = json.loads(done.stdout)["files"]
    assert (first["file"], second["file"]) == (file, file)
    row, guarded, *verified = first["rows"]
    assert (row["stage"], row["distance"]) == ("distance", 0.1)
    assert (guarded["stage"], guarded["distance"]) == ("guards", 0.1)
    assert [row["error_rate"] for row in verified] == [0.01, 0.02, 0.05] * 2
    shares = {name for name, value in row.items() if isinstance(value, dict)}
    assert shares == figures
    assert all(row[name].keys() == {"count", "of", "share", "low", "high"} for name in shares)
    assert all(row[name] == second["rows"][0][name] for name in shares)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
@pytest.mark.parametrize(("command", "file"), [("evaluate", "pairs.jsonl"), ("replay", "pairs")])
def test_a_terminal_shows_how_far_it_has_come(measured: Path, command: str, file: str) -> None:
    (measured / "pairs").write_text(STREAM)
    ours, theirs = os.openpty()
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        with os.fdopen(theirs, "wb") as stderr:
            done = subprocess.run(
                [*REPRISE, command, "--json", file],
                cwd=measured,
                env={**ENVIRONMENT, "TERM": "xterm"},
                stdout=subprocess.PIPE,
                stderr=stderr,
                check=True,
            )
        shown = terminal.read(65_536).decode()
    assert file in shown
    assert "100%" in shown
    assert json.loads(done.stdout)["files"]


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["evaluate", "none.jsonl"], "none.jsonl: No such file or directory"),
        (["evaluate", "stream.jsonl.gz"], "stream.jsonl.gz: line 2: "),
        (["replay", "pairs.jsonl"], 'pairs.jsonl: line 2: "answer_id" must be a text'),
        (["replay", "stream.jsonl.gz", "pairs.jsonl"], "pairs.jsonl: line 2: "),
        (["evaluate"], "give either files of pairs or --benchmark"),
        (["evaluate", "--benchmark", "pairs.jsonl"], "give either files of pairs or --benchmark"),
        (["evaluate", "--benchmark", "--sample", "900"], "--sample 900 is not allowed: "),
        (["calibrate", "none.jsonl", "-o", "x"], "none.jsonl: No such file or directory"),
        (["calibrate", "stream.jsonl.gz", "-o", "x"], "stream.jsonl.gz: line 2: "),
        (["calibrate", "pairs.jsonl", "-o", "no/x"], "no/x: No such file or directory"),
        (["calibrate", "pairs.jsonl", "-o", "x", "--max-distance", "0"], "--max-distance 0.0 is"),
        (["evaluate", "pairs.jsonl", "--distance", "2.5"], "--distance 2.5 is not allowed: "),
        (["replay", "stream.jsonl.gz", "--distance", "nan"], "--distance nan is not allowed: "),
        (["evaluate", "pairs.jsonl", "--error-rate", "0"], "--error-rate 0.0 is not allowed: "),
        (["evaluate", "pairs.jsonl", "--curves", "a.svg"], "--curves a.svg is not allowed: "),
        (["replay", "stream.jsonl.gz", "--error-rate", "1"], "--error-rate 1.0 is not allowed: "),
    ],
)
def test_what_cannot_be_measured_is_told_in_one_line(
    measured: Path, args: list[str], told: str
) -> None:
    done = run(measured, *args)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"reprise: {told}")
    assert len(done.stderr.splitlines()) == 1


def test_replay_that_is_interrupted_ends_at_once(measured: Path) -> None:
    lines = "".join(f'{{"prompt": "Question {n}", "answer_id": "x"}}\n' for n in range(100_000))
    (measured / "long.jsonl").write_text(STREAM + lines)
    process = subprocess.Popen(
        [*REPRISE, "replay", "stream.jsonl.gz", "long.jsonl"],
        cwd=measured,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Shells let what they start in the background ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline()  # the first file is done
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "Traceback" not in told


@pytest.mark.parametrize(
    ("args", "environment"),
    [
        (["evaluate", "pairs.jsonl", "--verifier", "nowhere"], {}),
        (["serve"], {"REPRISE_VERIFIER": "on", "REPRISE_VERIFIER_MODEL": "nowhere"}),
    ],
)
def test_a_verifier_that_is_not_there_is_told_in_one_line(
    measured: Path, args: list[str], environment: dict[str, str]
) -> None:
    refused = run(measured, *args, **environment)
    assert refused.returncode == 2
    assert refused.stderr.startswith("reprise: REPRISE_VERIFIER")
    assert "training/" in refused.stderr
    assert refused.stderr.count("\n") == 1


TOKEN = {"REPRISE_ADMIN_TOKEN": "admin-token"}


def test_an_operator_looks_at_a_running_proxy_and_purges_it(tmp_path: Path) -> None:
    with serving(tmp_path, **TOKEN) as served:
        ask(served.url)
        at = ("--url", served.url)
        stats = run(tmp_path, "stats", "--json", *at, **TOKEN)
        assert json.loads(stats.stdout)["entries"] == {"chat_completion": 1, "embedding": 0}
        told = run(tmp_path, "stats", *at, **TOKEN).stdout
        assert "chat_completion 1, embedding 0" in told
        assert "exact (right 0, wrong 0, open 0)" in told
        report = json.loads(run(tmp_path, "report", "--json", *at, **TOKEN).stdout)
        assert report["requests"] == {"exact": 0, "semantic": 0, "stale": 0, "miss": 1}
        dry = run(tmp_path, "purge", "--all", "--dry-run", *at, **TOKEN)
        would, shown = dry.stdout.splitlines()
        assert would == "would purge 1 entries"
        assert shown.endswith("  m  What is Valkey?")
        assert run(tmp_path, "purge", "--all", *at, **TOKEN).stdout == "purged 1 entries\n"
        assert run(tmp_path, "purge", "--all", *at, **TOKEN).stdout == "purged 0 entries\n"


def test_an_operator_purges_by_name_and_by_meaning(tmp_path: Path) -> None:
    with serving(tmp_path, **TOKEN) as served:
        ask(served.url)
        at = ("--url", served.url)
        names = ("--tag", "a", "--model", "m", "--namespace", "n")
        assert run(tmp_path, "purge", *names, *at, **TOKEN).stdout == "purged 0 entries\n"
        about = ("--about", "Can you explain what Valkey is?", "--max-distance", "0.1")
        done = run(tmp_path, "purge", *about, "--model", "m", *at, **TOKEN)
        assert done.stdout == "purged 1 entries\n"
        assert ask(served.url)["x-cache"] == "MISS"


def test_what_is_exported_is_imported_again(tmp_path: Path) -> None:
    with serving(tmp_path, **TOKEN) as served:
        ask(served.url)
        at = ("cache.jsonl", "--url", served.url)
        done = run(tmp_path, "export", *at, **TOKEN)
        assert (done.stdout, done.stderr) == ("exported 1 entries\n", "")
        assert run(tmp_path, "purge", "--all", *at[1:], **TOKEN).returncode == 0
        with (tmp_path / "cache.jsonl").open("a") as file:
            file.write("This is no entry.\n")
        done = run(tmp_path, "import", *at, **TOKEN)
        assert (done.returncode, done.stderr) == (1, "")
        told = "imported 1, kept 0, expired 0, refused 1 (line 4: not-json)\n"
        assert done.stdout == told
        assert ask(served.url)["x-cache"] == "HIT"


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A proxy whose state no test changes."""
    with serving(tmp_path_factory.mktemp("proxy"), **TOKEN) as served:
        yield served


def test_the_settings_say_which_proxy_is_asked(tmp_path: Path, proxy: Served) -> None:
    port = {"REPRISE_PORT": proxy.url.removesuffix("/v1").rpartition(":")[2]}
    # A proxy that the environment names has no part in it.
    elsewhere = {"http_proxy": "http://127.0.0.1:1"}
    assert run(tmp_path, "stats", **TOKEN, **port, **elsewhere).returncode == 0


@pytest.mark.parametrize(
    ("args", "token", "ended"),
    [
        (["stats", "--url", "{url}"], "wrong", (1, "401: Incorrect admin token")),
        (["stats", "--url", "{url}/nowhere"], "admin-token", (1, "answered 404")),
        (["stats", "--url", "http://127.0.0.1:1"], "admin-token", (1, "cannot be reached")),
        (["stats", "--url", "localhost:8000"], "admin-token", (2, "http:// or https://")),
        (["purge", "--url", "{url}"], "admin-token", (2, "--all")),
        (["purge", "--all", "--tag", "a", "--url", "{url}"], "admin-token", (1, "answered 400")),
        (["purge", "--about", "a", "--url", "{url}"], "admin-token", (1, "max_distance")),
    ],
)
def test_what_a_running_proxy_does_not_do_is_told_in_one_line(
    tmp_path: Path, proxy: Served, args: list[str], token: str, ended: tuple[int, str]
) -> None:
    args = [arg.replace("{url}", proxy.url) for arg in args]
    code, told = ended
    failed = run(tmp_path, *args, REPRISE_ADMIN_TOKEN=token)
    assert (failed.returncode, failed.stdout) == (code, "")
    assert failed.stderr.startswith("reprise: ")
    assert told in failed.stderr
    assert failed.stderr.count("\n") == 1


def test_a_terminal_is_shown_a_token_that_opens_the_admin_routes(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*REPRISE, "serve", "--port", "0"], cwd=tmp_path, env=ENVIRONMENT, stderr=theirs
    )
    try:
        shown = ""
        while "random, for this run only" not in shown:
            shown += os.read(ours, 4096).decode()
        url = re.search(r"listens on (\S+)", shown)
        token = re.search(r"REPRISE_ADMIN_TOKEN=(\S+)", shown)
        assert url is not None
        assert token is not None
        assert f"dashboard {url[1].removesuffix('/v1')}/dashboard" in shown
        stats = run(tmp_path, "stats", "--url", url[1], REPRISE_ADMIN_TOKEN=token[1])
        assert stats.returncode == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)


def test_help_names_the_commands(tmp_path: Path) -> None:
    done = run(tmp_path, "--help")
    assert done.returncode == 0
    for command in (
        *("serve", "demo", "evaluate", "calibrate", "replay", "stats", "purge", "export", "import"),
    ):
        assert command in done.stdout


def test_help_shows_defaults_that_depend_on_the_settings(tmp_path: Path) -> None:
    for command, default in (("evaluate", "0.05"), ("evaluate", "0.02"), ("stats", "settings")):
        told = run(tmp_path, command, "--help").stdout
        assert default in told.partition("default:")[2]
