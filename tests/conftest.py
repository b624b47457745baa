"""What holds for the whole test run."""

import gc
import logging
import os
import re
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says more about the machine than about the code.
settings.register_profile(
    "reprise", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=50
)
settings.register_profile("ci", settings.get_profile("reprise"), max_examples=100)
settings.register_profile("thorough", settings.get_profile("reprise"), max_examples=2500)
settings.load_profile("ci" if "CI" in os.environ else "reprise")

# The client's own lines are of no interest.
for name in ("httpx", "httpcore", "httpx2", "httpcore2", "openai", "anthropic"):
    logging.getLogger(name).setLevel(logging.WARNING)

TESTS = Path(__file__).parent

# An authority that has certified nobody. Every client and every proxy reads a list of authorities,
# and the hundred of the usual one take longer to read than most tests to run.
os.environ["SSL_CERT_FILE"] = str(TESTS / "nobody.pem")

# The markers of tests by where they are: a folder, a module, or the modules that begin alike.
MARKERS = {
    "behaviour/": {"process"},
    "behaviour/test_attacks": {"model"},
    "behaviour/test_fleet": {"valkey"},
    "behaviour/test_rolling_restart": {"valkey"},
    "behaviour/test_savings": {"valkey"},
    "behaviour/test_usage": {"valkey"},
    "behaviour/test_valkey": {"valkey"},
    "inference/test_local_embedder": {"model"},
    "inference/test_remote_embedder": {"process"},
    "inference/test_verifier": {"model"},
    "server/": {"process"},
    "server/test_workers": {"valkey"},
    "stores/test_valkey.py": {"valkey"},
    "stores/test_valkey_client": {"valkey"},
    "stores/test_valkey_cluster": {"valkey"},
    "stores/test_valkey_failures": {"valkey"},
    "stores/test_valkey_generations": {"valkey"},
    "stores/test_valkey_lease": {"valkey"},
    "stores/test_valkey_rights": {"valkey"},
    "stores/test_versions": {"valkey"},
    "test_cli": {"model", "process"},
    "tools/test_client": {"process"},
    "training/test_training": {"model", "process"},
    "upstream/": {"process"},
    "valkey/": {"valkey"},
}
STORE = re.compile("valkey(-cluster.*)?")  # as every_store.py names it


@pytest.hookimpl(tryfirst=True)  # before -m picks
def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Mark what a test needs, so that `-m "not valkey"` leaves out what cannot run."""
    for item in items:
        place = item.path.relative_to(TESTS).as_posix()
        needs = {need for at, needs in MARKERS.items() if place.startswith(at) for need in needs}
        values = item.callspec.params.values() if hasattr(item, "callspec") else ()
        is_of_stores = place.startswith(("behaviour/", "stores/"))
        if is_of_stores and any(isinstance(v, str) and STORE.fullmatch(v) for v in values):
            needs.add("valkey")
        for need in sorted(needs):
            item.add_marker(need)


def pytest_collection_finish() -> None:
    """Keep the collector from going through all modules again and again.

    It takes half a second once all are there, in which a server in a thread of its own is silent.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture
def certified(tmp_path: Path) -> tuple[ssl.SSLContext, Path]:
    """Make a server's certificate for `localhost`, which is its own authority."""
    if (openssl := shutil.which("openssl")) is None:
        pytest.skip("there is no openssl to make a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "ca.pem"
    request = "req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([openssl, *request.split(), *names, *files], check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context, certificate
