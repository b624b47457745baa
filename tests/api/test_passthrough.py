"""Which routes other than the cached ones are passed through."""

import pytest

from app.api.passthrough import Passthrough, is_open
from app.core.models import ClientRequest


@pytest.mark.parametrize(
    ("method", "path", "is_reading"),
    [
        ("GET", b"/models", True),
        ("HEAD", b"/models", True),
        ("GET", b"/models/gpt-4.1", True),
        ("GET", b"/models/meta-llama/Llama-3.1-8B", True),
        ("GET", b"/models/ft:gpt-4o:org::id", True),
        ("POST", b"/models", False),
        ("DELETE", b"/models/a", False),
        ("GET", b"/modelsx", False),
        ("GET", b"/models/", False),
        ("GET", b"/models/a%2Fb", False),
        ("GET", b"/models/a;b", False),
        ("GET", b"/files", False),
    ],
)
def test_models_may_be_read_where_nothing_else_is_open(
    method: str, path: bytes, is_reading: bool
) -> None:
    request = ClientRequest(method, path, b"", [], b"")
    assert is_open(request, Passthrough.MODELS) is is_reading
    assert is_open(request, Passthrough.ON)
    assert not is_open(request, Passthrough.OFF)
