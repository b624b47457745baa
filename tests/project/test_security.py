"""The claims of SECURITY.md and docs/deploying.md: named tests exist, and files can be loaded."""

import ast
import re
import shutil
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent.parent
SECURITY = (ROOT / "SECURITY.md").read_text()
DEPLOYING = (ROOT / "docs" / "deploying.md").read_text()
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
ATTACKS = [
    row
    for row in SECURITY.split("\n## Attacks\n")[1].split("\n## ")[0].splitlines()
    if row.startswith("| ") and not row.startswith("| attack |")
]


def block_of(language: str) -> str:
    """Return the only code block of a language in docs/deploying.md."""
    (block,) = re.findall(rf"```{language}\n(.*?)```", DEPLOYING, re.DOTALL)
    return str(block)


@pytest.mark.parametrize("row", ATTACKS, ids=lambda row: row.split("|")[1].strip()[:40])
def test_every_attack_names_the_tests_that_show_what_becomes_of_it(row: str) -> None:
    tests = TEST.findall(row)
    assert tests
    for path, name in tests:
        module = ast.parse((ROOT / path).read_text())
        names = {
            node.name
            for node in module.body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        assert name in names, f"{path}::{name}"


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
def test_nginx_takes_what_the_page_gives(
    certified: tuple[ssl.SSLContext, Path], tmp_path: Path
) -> None:
    certificate = certified[1]
    site = block_of("nginx").replace("listen 443", f"listen unix:{tmp_path}/s")
    for suffix, path in ((".pem", certificate), (".key", certificate.parent / "key.pem")):
        site = site.replace(f"/etc/ssl/llm.example.com{suffix}", str(path))
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{kind}_temp_path {tmp_path}/{kind};\n" for kind in kinds)
    configuration = tmp_path / "nginx.conf"
    configuration.write_text(
        f"pid {tmp_path}/pid;\nevents {{}}\nhttp {{\naccess_log off;\n{places}{site}\n}}\n"
    )
    command = ["nginx", "-t", "-p", str(tmp_path), "-e", "stderr", "-c", str(configuration)]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr


def test_envoys_routes_lead_to_a_cluster_that_there_is_and_end_no_stream() -> None:
    resources: Any = yaml.safe_load(block_of("yaml"))["static_resources"]
    (listener,) = resources["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    (host,) = manager["route_config"]["virtual_hosts"]
    clusters = {cluster["name"] for cluster in resources["clusters"]}
    for route in host["routes"]:
        assert route["route"]["cluster"] in clusters
        assert route["route"]["timeout"] == "0s"
        assert "retry_policy" not in route["route"]
