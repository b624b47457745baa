"""Settings, markers and fixtures for all tests."""

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

# No deadline: the duration of an example depends more on the machine than on the code.
settings.register_profile(
    "reprise", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=50
)
settings.register_profile("ci", settings.get_profile("reprise"), max_examples=100)
settings.register_profile("thorough", settings.get_profile("reprise"), max_examples=2500)
settings.load_profile("ci" if "CI" in os.environ else "reprise")

# The log lines of client libraries are left out.
for name in ("httpx", "httpcore", "httpx2", "httpcore2", "openai", "anthropic"):
    logging.getLogger(name).setLevel(logging.WARNING)

TESTS = Path(__file__).parent

# A file with one certificate authority that has signed nothing. Each client and proxy loads the
# authorities, and the usual file of more than a hundred takes longer than most tests.
os.environ["SSL_CERT_FILE"] = str(TESTS / "nobody.pem")

# The markers of tests by their path: a folder, a module, or the beginning of modules' names.
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
    """Add markers for what each test needs, so that `-m "not valkey"` leaves out such tests."""
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
    """Exclude all objects so far from garbage collection.

    With all modules loaded, a collection takes half a second. Servers in threads wait meanwhile.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture
def certified(tmp_path: Path) -> tuple[ssl.SSLContext, Path]:
    """Make a self-signed certificate for a server at `localhost`."""
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
