"""An embedding model on a server with OpenAI's `/embeddings` API.

https://platform.openai.com/docs/api-reference/embeddings/create
"""

import base64
import json
import math
from collections.abc import Callable, Sequence
from contextlib import aclosing

import numpy as np
from numpy.typing import NDArray

from app.core.errors import Declined, DependencyFailed, NotUnderstood
from app.core.models import ClientRequest, Embedding, Header
from app.core.ports import Upstream
from app.dialects.strict_json import load_json
from app.dialects.usage import usage_of
from app.inference.answers import (
    JSON_HEADERS,
    LIKELY_WINDOW,
    SHORTEST_WINDOW,
    TOO_LONG,
    read_answer,
)

_SHORTENED = "text-embedding-3"  # models that accept `dimensions`; others may refuse the field
_OPENAI = (_SHORTENED, "text-embedding-ada-002")

_OK = 200
_CALLERS_FAULT = frozenset({401, 402, 403, 429})

# Tokens. A token is at least one byte, so a text of at most this many bytes fits. A server may
# silently cut a longer text; then texts with the same beginning would have the same embedding.
_OPENAI_WINDOW = 8191


class RemoteEmbedder:
    """Embeds texts by asking a server, with one request for each text.

    If `as_caller` is true, the server is the upstream, and requests carry the caller's own
    credentials. In this case, `embed` raises Declined if the upstream refuses the caller. Declined
    does not count as a failure of the server.

    After each text, `on_tokens` is called with the number of tokens that the server has counted, or
    with 0 if the server's answer does not contain this number.
    """

    def __init__(
        self,
        upstream: Upstream,
        model: str,
        dimensions: int,
        *,
        as_caller: bool = False,
        on_tokens: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.name = f"{model}/{dimensions}"
        self.dimensions = dimensions
        self._upstream = upstream
        self._as_caller = as_caller
        self._on_tokens = on_tokens
        family = model.rpartition("/")[2]  # gateways put the vendor before the model's name
        self._window = _OPENAI_WINDOW if family.startswith(_OPENAI) else LIKELY_WINDOW
        self._options: dict[str, object] = {"model": model, "encoding_format": "base64"}
        if family.startswith(_SHORTENED):
            self._options["dimensions"] = dimensions

    async def embed(self, text: str, credentials: Sequence[Header] = ()) -> Embedding | None:
        """Return the unit embedding of a text; None if the text is empty or may be too long.

        Raises Declined if `as_caller` is true and the server refuses the caller. Raises
        DependencyFailed if the server gives no valid answer. Also raises the HTTP client's errors.
        """
        size = len(text.encode())
        if not 0 < size <= self._window:
            return None
        request = ClientRequest(
            method="POST",
            path=b"/embeddings",
            query=b"",
            headers=[*JSON_HEADERS, *(credentials if self._as_caller else ())],
            body=json.dumps({**self._options, "input": text}).encode(),
        )
        async with aclosing(await self._upstream.send(request)) as response:
            if response.status_code == _OK:
                numbers, tokens = _read(await read_answer(response))
                self._on_tokens(tokens)
                return self._checked(numbers)
        if response.status_code in TOO_LONG and size > SHORTEST_WINDOW:
            return None
        if response.status_code in _CALLERS_FAULT and self._as_caller:
            raise Declined
        raise DependencyFailed(f"it answered with status {response.status_code}")

    def _checked(self, numbers: NDArray[np.float64]) -> Embedding:
        if numbers.size != self.dimensions:
            raise DependencyFailed(
                f"REPRISE_EMBEDDING_DIMENSIONS={self.dimensions}, but its embeddings have "
                f"{numbers.size} dimensions"
            )
        length = float(np.linalg.norm(numbers))
        if not 0 < length < math.inf:
            raise DependencyFailed("its embedding is zero or not finite")
        return np.asarray(numbers / length, dtype=np.float32)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._upstream.aclose()


def _read(answer: bytes) -> tuple[NDArray[np.float64], int]:
    """Return the embedding in an answer, and the answer's token count (0 if unknown).

    The length of the embedding is not checked. Raises DependencyFailed if the answer does not
    contain exactly one embedding.
    """
    try:
        document = load_json(answer)
        (item,) = document["data"]
        usage = usage_of(document.get("usage"))
        told = item["embedding"]
        if isinstance(told, str):
            told = np.frombuffer(base64.b64decode(told, validate=True), "<f4")
        numbers = np.array(told, np.float64)
    except (NotUnderstood, LookupError, TypeError, ValueError, OverflowError) as error:
        raise DependencyFailed("its answer does not contain an embedding") from error
    if numbers.ndim != 1:
        raise DependencyFailed("its answer does not contain an embedding")
    return numbers, usage.input if usage else 0
