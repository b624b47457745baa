"""The paths of the API and the prefixes that clients put before them.

`/v1` is the usual prefix. Without a prefix, or with Azure's prefix `/openai/v1`, a path means the
same as with `/v1`. Azure's older paths name a deployment, as in
`/openai/deployments/{name}/chat/completions?api-version=…`. Of these older paths, only
`/openai/responses?api-version=…` names no deployment.

https://learn.microsoft.com/en-us/azure/ai-foundry/openai/reference
"""

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from app.core.models import AZURE, V1

CHAT_COMPLETIONS = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
EMBEDDINGS = "/v1/embeddings"
MESSAGES = "/v1/messages"
RESPONSES = "/v1/responses"

CACHED: Mapping[str, str] = MappingProxyType(
    {
        CHAT_COMPLETIONS: "chat_completions",
        COMPLETIONS: "completions",
        EMBEDDINGS: "embeddings",
        MESSAGES: "messages",
        RESPONSES: "responses",
    }
)
"""Maps each cached path to its name in metrics."""

_PREFIX = re.compile(r"|(?:/openai)?/v1|/openai/deployments/[^/]+")
_PREFIX_OF_RESPONSES = re.compile(r"(?:/openai)?(?:/v1)?")
_LONGEST_FIRST = (V1, AZURE + V1, AZURE)
# The first segments of the API's paths. A path without prefix must begin with one of them.
_ROOTS = frozenset(
    {
        *("assistants", "audio", "batches", "chat", "completions", "containers", "conversations"),
        *("embeddings", "evals", "files", "fine_tuning", "images", "messages", "models"),
        *("moderations", "realtime", "responses", "threads", "uploads", "vector_stores", "videos"),
    }
)


class ApiPath(NamedTuple):
    """A path of the API, still percent-encoded, split into its prefix and the rest."""

    prefix: bytes
    path: bytes


def api_path(raw_path: bytes) -> ApiPath | None:
    """Return `raw_path` split into prefix and rest, or None if it is not a path of the API."""
    for prefix in _LONGEST_FIRST:
        if raw_path.startswith(prefix + b"/"):
            return ApiPath(prefix, raw_path.removeprefix(prefix))
    first = raw_path[1:].partition(b"/")[0].decode("latin-1")
    return ApiPath(b"", raw_path) if first in _ROOTS else None


def is_api(path: str) -> bool:
    """Whether a percent-decoded path begins like a path of the API."""
    return path.startswith((V1.decode(), AZURE.decode())) or path[1:].partition("/")[0] in _ROOTS


def forms_of(path: str) -> Iterator[tuple[str, bool]]:
    """Yield patterns of the paths that mean the same as `path`, which begins with `/v1`.

    The second item of each pair says whether these paths name a deployment of Azure. The
    deployment determines the model.
    """
    rest = path.removeprefix(V1.decode())
    yield path, False
    yield f"{AZURE.decode()}{path}", False
    yield rest, False
    if path == RESPONSES:
        yield f"{AZURE.decode()}{rest}", False
    else:
        yield f"{AZURE.decode()}/deployments/{{deployment}}{rest}", True


def route_of(path: str) -> str | None:
    """Return the path in `CACHED` that means the same as `path`, or None if there is none.

    `path` is percent-decoded.
    """
    for route in CACHED:
        rest = route.removeprefix(V1.decode())
        prefix = _PREFIX_OF_RESPONSES if route == RESPONSES else _PREFIX
        if path.endswith(rest) and prefix.fullmatch(path.removesuffix(rest)):
            return route
    return None
