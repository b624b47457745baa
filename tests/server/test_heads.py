"""Which heads of requests the server refuses."""

import pytest

from app.core.models import Header
from app.server.heads import why_refused

HOST: Header = (b"host", b"localhost")
CHUNKED: Header = (b"transfer-encoding", b"chunked")


@pytest.mark.parametrize("version", ["0.9", "2.0", "3.0"])
def test_a_version_that_is_not_spoken_here_is_not_supported(version: str) -> None:
    refusal = why_refused(b"GET", version, [HOST])
    assert refusal is not None
    assert refusal.status_code == 501


@pytest.mark.parametrize(
    "host", [b"a b", b"a/b", b"a@b", b"a:80:80", b"a:x", b"[::1", b"a\xe9", b"http://a"]
)
def test_a_host_that_is_none_is_invalid(host: bytes) -> None:
    refusal = why_refused(b"GET", "1.1", [(b"host", host)])
    assert refusal is not None
    assert refusal.status_code == 400


@pytest.mark.parametrize(
    "host", [b"", b"a", b"a.b-c_d:8000", b"127.0.0.1:80", b"[::1]", b"[fe80::1%25eth0]:80", b"a:"]
)
def test_a_host_is_a_name_or_an_address_and_perhaps_a_port(host: bytes) -> None:
    assert why_refused(b"GET", "1.1", [(b"host", host)]) is None


def test_chunks_are_of_http_1_1_alone() -> None:
    assert why_refused(b"POST", "1.1", [HOST, CHUNKED]) is None
    refusal = why_refused(b"POST", "1.0", [HOST, CHUNKED])
    assert refusal is not None
    assert refusal.status_code == 400
