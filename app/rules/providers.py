"""Whether a request is for Anthropic's API or for OpenAI's (or a compatible) API."""

from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

from app.core.models import AZURE, ClientRequest, Header

_MESSAGES = b"/messages"
# Paths that both APIs have (models, files, batches) are told apart by this header, which
# Anthropic's API requires.
_VERSION = b"anthropic-version"
_OPENAIS = frozenset({b"chat", b"completions", b"embeddings", b"responses"})


def is_anthropics(request: ClientRequest) -> bool:
    """Whether a request is for Anthropic's API."""
    return speaks_anthropic(request.prefix, request.path, request.headers)


def speaks_anthropic(prefix: bytes, path: bytes, headers: Iterable[Header]) -> bool:
    """Whether a request is for Anthropic's API, judged by its prefix, path and headers.

    `path` may be percent-encoded. Source: https://platform.claude.com/docs/en/api/versioning
    """
    if prefix == AZURE:
        return False
    path = unquote_to_bytes(path)
    if path == _MESSAGES or path.startswith(_MESSAGES + b"/"):
        return True
    root = path[1:].partition(b"/")[0]
    return root not in _OPENAIS and any(name == _VERSION for name, _ in headers)
