"""Runs the steps of the Dockerfile over this machine's root folder; see scripts/try-image.

It is not part of the test suite: it needs root, its own mount namespace, and some minutes. It does
not check that the base image has what the steps need; it uses this machine's Python.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.dockerfile import ROOT, Stage, read_stages

pytestmark = pytest.mark.timeout(900)

BUILD, FINAL = read_stages()
PYTHON = Path(sys._base_executable)  # type: ignore[attr-defined]
PATIENCE = 30.0


@dataclass(frozen=True)
class Root:
    """A root folder to run commands in: this machine's, with changes in a separate layer."""

    path: Path
    environment: dict[str, str]

    def command(self, words: list[str], user: str = "0:0") -> list[str]:
        user_id, group_id = user.split(":")
        become = ["setpriv", "--reuid", user_id, "--regid", group_id, "--clear-groups"]
        env = ["env", "-i", *(f"{name}={value}" for name, value in self.environment.items())]
        return ["chroot", str(self.path), *become, *env, *words]

    def run(self, words: list[str], user: str = "0:0") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(words, user), capture_output=True, text=True, check=False
        )

    def step(self, stage: Stage) -> None:
        """Run the instructions of a stage that change files."""
        folder = "/"
        for instruction in stage.instructions:
            if instruction.name == "WORKDIR":
                folder = instruction.value
                (self.path / folder.lstrip("/")).mkdir(parents=True, exist_ok=True)
            elif instruction.name == "COPY" and "--from" not in instruction.value:
                *sources, target = instruction.words
                for source in sources:
                    copy(ROOT / source, self.path / folder.lstrip("/") / target, source)
            elif instruction.name == "RUN":
                done = self.run(["sh", "-c", f"cd {folder} && {instruction.value}"])
                assert done.returncode == 0, done.stdout + done.stderr


def copy(source: Path, target: Path, name: str) -> None:
    """Copy like COPY: the content of a folder, or a file into a folder."""
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target / name)


def mount(*words: str) -> None:
    subprocess.run(["/usr/bin/mount", *words], check=True)


def new_root(folder: Path) -> Root:
    """Lay an empty folder over the root folder. All users may run this `python`, first in PATH."""
    for name in ("changes", "work", "root"):
        (folder / name).mkdir(parents=True)
    root = folder / "root"
    layers = f"lowerdir=/,upperdir={folder / 'changes'},workdir={folder / 'work'}"
    mount("-t", "overlay", "overlay", "-o", layers, str(root))
    mount("-t", "proc", "proc", str(root / "proc"))
    mount("--rbind", "/dev", str(root / "dev"))
    for parent in list(PYTHON.parents)[:-1]:
        inside = root / parent.relative_to("/")
        inside.chmod(inside.stat().st_mode | 0o055)
    python = root / PYTHON.relative_to("/").with_name("python")
    if not python.exists():
        python.symlink_to(PYTHON.name)
    passed = {name: value for name, value in os.environ.items() if "proxy" in name.lower()}
    path = f"{PYTHON.parent}:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return Root(root, {"PATH": path, **passed})


@pytest.fixture(scope="module")
def image() -> Iterator[Root]:
    """Run both stages and yield the second one's root folder, with the image's environment."""
    folder = Path(tempfile.mkdtemp(prefix="try-image-"))
    mount("-t", "tmpfs", "tmpfs", str(folder))
    try:
        yield build_image(folder)
    finally:
        subprocess.run(["/usr/bin/umount", "--lazy", "--recursive", str(folder)], check=True)
        folder.rmdir()


def build_image(folder: Path) -> Root:
    build, final = new_root(folder / "build"), new_root(folder / "final")
    build.step(BUILD)
    shutil.copytree(build.path / "opt/reprise", final.path / "opt/reprise", symlinks=True)
    final.step(FINAL)
    for name, value in FINAL.environment.items():
        final.environment[name] = value.replace("$PATH", final.environment["PATH"])
    return final


@dataclass(frozen=True)
class Container:
    """The image's command, running as the image's user."""

    process: subprocess.Popen[str]
    port: int
    said: list[str]


@pytest.fixture
def container(image: Root) -> Iterator[Container]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    image.environment.update(REPRISE_UPSTREAM_URL="simulated://", REPRISE_PORT=str(port))
    words = ["sh", "-c", 'cd /data && exec "$@"', "sh", *FINAL.one("CMD").exec_form]
    process = subprocess.Popen(
        image.command(words, FINAL.one("USER").value), stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    yield Container(process, port, [process.stderr.readline() for _ in range(4)])
    process.kill()
    process.communicate()


def test_the_command_runs_as_the_user_listens_and_is_healthy(
    image: Root, container: Container
) -> None:
    assert f"listens on http://0.0.0.0:{container.port}/v1" in container.said[0]
    status = Path(f"/proc/{container.process.pid}/status").read_text()
    user = FINAL.one("USER").value.split(":")[0]
    assert f"Uid:\t{user}\t{user}\t{user}\t{user}\n" in status
    check = FINAL.one("HEALTHCHECK").exec_form
    assert image.run(check, FINAL.one("USER").value).returncode == 0
    container.process.send_signal(signal.Signals[FINAL.one("STOPSIGNAL").value])
    assert container.process.wait(PATIENCE) == 0
    assert image.run(check, FINAL.one("USER").value).returncode == 1


def test_it_answers_and_answers_again_by_meaning(container: Container) -> None:
    outcomes = []
    for question in ("What is Valkey?", "Can you explain what Valkey is?"):
        body = {"model": "m", "messages": [{"role": "user", "content": question}]}
        request = urllib.request.Request(
            f"http://127.0.0.1:{container.port}/v1/chat/completions", json.dumps(body).encode()
        )
        begin = time.monotonic()
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            outcomes.append(response.headers["x-cache"])
        assert time.monotonic() - begin < PATIENCE
    assert outcomes == ["MISS", "HIT"]


def test_nothing_that_installs_is_left(image: Root) -> None:
    for python in (str(PYTHON), "/opt/reprise/bin/python"):
        for module in ("pip", "setuptools", "wheel"):
            done = image.run([python, "-c", f"import {module}"])
            assert "ModuleNotFoundError" in done.stderr, f"{python} has {module}"


def test_the_user_may_write_to_the_volume_alone(image: Root) -> None:
    user = FINAL.one("USER").value
    assert image.run(["touch", "/data/file"], user).returncode == 0
    assert image.run(["touch", "/opt/reprise/file"], user).returncode != 0
    found = image.run(["find", "/opt/reprise", "-writable", "-not", "-type", "l"], user)
    assert (found.returncode, found.stdout) == (0, "")


def test_the_environment_holds_what_the_lock_file_lists(image: Root) -> None:
    code = (
        "from importlib.metadata import distributions as d\nfor x in d(): print(x.name, x.version)"
    )
    done = image.run(["/opt/reprise/bin/python", "-c", code])
    found = {tuple(line.lower().replace("_", "-").split()) for line in done.stdout.splitlines()}
    lock = (ROOT / "requirements.txt").read_text().lower().replace("_", "-")
    pinned = {tuple(line.split("==")) for line in lock.splitlines()}
    assert {name for name, _ in found ^ pinned} == {"reprise"}
