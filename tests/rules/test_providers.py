"""Which provider's API a request uses."""

import pytest

from app.core.models import AZURE, V1, ClientRequest, Header
from app.rules.key import KeyRules
from app.rules.providers import is_anthropics

VERSION: Header = (b"anthropic-version", b"2023-06-01")


@pytest.mark.parametrize(
    ("prefix", "path", "headers", "expected"),
    [
        (V1, b"/messages", [], True),
        (b"", b"/messages", [], True),
        (AZURE + V1, b"/messages", [], True),
        (V1, b"/messages/count_tokens", [], True),
        (V1, b"/messages/batches/a/results", [], True),
        (V1, b"/%6Dessages", [], True),
        (V1, b"/messagesx", [], False),
        (V1, b"//messages", [], False),
        (V1, b"/threads/a/messages", [], False),
        (AZURE, b"/deployments/a/messages", [VERSION], False),
        (V1, b"/models", [], False),
        (V1, b"/models", [VERSION], True),
        (V1, b"/files/a/content", [VERSION], True),
        (V1, b"/chat/completions", [VERSION], False),
        (V1, b"/completions", [VERSION], False),
        (V1, b"/embeddings", [VERSION], False),
        (V1, b"/responses/a", [VERSION], False),
    ],
)
def test_anthropics_api_is_known_by_its_path_or_its_version(
    prefix: bytes, path: bytes, headers: list[Header], expected: bool
) -> None:
    assert is_anthropics(ClientRequest("POST", path, b"", headers, prefix=prefix)) is expected


def test_the_upstream_that_takes_part_is_where_a_request_goes() -> None:
    rules = KeyRules("https://upstream.example/v1", anthropic="https://other.example/v1")
    messages = ClientRequest("POST", b"/messages", b"", [])
    chat = ClientRequest("POST", b"/chat/completions", b"", [VERSION])
    assert rules.upstream_of(messages) == "https://other.example/v1"
    assert rules.upstream_of(chat) == rules.upstream
    assert KeyRules(rules.upstream).upstream_of(messages) == rules.upstream
