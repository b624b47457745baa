"""What holds for the whole test run."""

import gc
import logging
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says more about the machine than about the code.
settings.register_profile("reprise", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("reprise")

# The client's own lines are of no interest.
for name in ("httpx", "httpcore", "httpx2", "httpcore2", "openai"):
    logging.getLogger(name).setLevel(logging.WARNING)


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
