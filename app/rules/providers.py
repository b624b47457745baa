"""Whose API a request speaks: Anthropic's, or that of OpenAI and of those who are compatible."""

from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

from app.core.models import AZURE, ClientRequest, Header

_MESSAGES = b"/messages"
# What Anthropic has too is told apart by the header that its API demands: models, files, batches.
_VERSION = b"anthropic-version"
_OPENAIS = frozenset({b"chat", b"completions", b"embeddings", b"responses"})


def is_anthropics(request: ClientRequest) -> bool:
    """Whether a request is one of Anthropic's API."""
    return speaks_anthropic(request.prefix, request.path, request.headers)


def speaks_anthropic(prefix: bytes, path: bytes, headers: Iterable[Header]) -> bool:
    """Whether a path of the API, percent-encoded as it came, is meant for Anthropic's.

    https://platform.claude.com/docs/en/api/versioning
    """
    if prefix == AZURE:
        return False
    path = unquote_to_bytes(path)
    if path == _MESSAGES or path.startswith(_MESSAGES + b"/"):
        return True
    root = path[1:].partition(b"/")[0]
    return root not in _OPENAIS and any(name == _VERSION for name, _ in headers)
