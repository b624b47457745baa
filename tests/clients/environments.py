"""Environments of clients: one folder each below `.clients/`, made on demand and kept."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from tests.clients.catalog import Client

ROOT = Path(__file__).parent.parent.parent
SCRIPTS = Path(__file__).parent / "scripts"
FOLDER = ROOT / ".clients"
# A client that needs torch is left out rather than installed with it.
CONSTRAINTS = "torch==0.0.0\n"
_LIMIT_S = 900


class NotInstalled(Exception):
    """A client could not be installed."""


def install(client: Client) -> list[str]:
    """Return the command that runs a client's script, in an environment that is made if need be.

    Raises NotInstalled.
    """
    if not client.packages:
        return [sys.executable, str(SCRIPTS / client.script)]
    folder = FOLDER / client.environment
    if not (folder / ".done").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            _install_node(client, folder) if client.kind == "node" else _install(client, folder)
        except (subprocess.SubprocessError, OSError) as error:
            raise NotInstalled from error
        (folder / ".done").touch()
    if client.kind == "node":
        # Node looks for packages beside the script.
        for script in SCRIPTS.glob("*.mjs"):
            shutil.copy(script, folder)
        return ["node", str(folder / client.script)]
    return [str(folder / "bin" / "python"), str(SCRIPTS / client.script)]


def _install(client: Client, folder: Path) -> None:
    constraints = FOLDER / "constraints.txt"
    constraints.write_text(CONSTRAINTS)
    _run([sys.executable, "-m", "venv", str(folder)], folder)
    pip = [str(folder / "bin" / "pip"), "install", "-q", "--no-input", "--prefer-binary"]
    _run([*pip, "-c", str(constraints), *client.packages], folder)


def _install_node(client: Client, folder: Path) -> None:
    (folder / "package.json").write_text('{"private": true}')
    npm = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]
    _run([*npm, *client.packages], folder)


def _run(command: list[str], folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True, timeout=_LIMIT_S, stdin=subprocess.DEVNULL)


def version_of(client: Client) -> str:
    """Return the version of what is installed."""
    if not client.packages:
        told = subprocess.run(
            [client.name, "--version"], capture_output=True, text=True, check=True
        )
        return told.stdout.split()[1]
    folder = FOLDER / client.environment
    if client.kind == "node":
        package = folder / "node_modules" / client.shown / "package.json"
        return str(json.loads(package.read_text())["version"])
    ask = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))"
    command = [str(folder / "bin" / "python"), "-c", ask, client.shown]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
