"""A model behind the `/embeddings` of an OpenAI-compatible server.

https://platform.openai.com/docs/api-reference/embeddings/create
"""

import base64
import json
import math
from collections.abc import Sequence
from contextlib import aclosing

import numpy as np
from numpy.typing import NDArray

from app.core.content_codings import content_coding, decoder_for
from app.core.errors import Declined, DependencyFailed, NotUnderstood
from app.core.models import ClientRequest, Embedding, Header
from app.core.ports import Upstream, UpstreamResponse
from app.dialects.strict_json import load_json

_HEADERS: tuple[Header, ...] = (
    (b"content-type", b"application/json"),
    (b"accept", b"application/json"),
    (b"accept-encoding", b"identity"),
)
_SHORTENED = "text-embedding-3"  # models that take `dimensions`; others may refuse the field
_OPENAI = (_SHORTENED, "text-embedding-ada-002")

_OK = 200
_TOO_LONG = frozenset({400, 413, 422})  # what servers answer to a text beyond the window, too
_CALLERS_FAULT = frozenset({401, 402, 403, 429})
_LARGEST = 1_048_576  # bytes of an answer

# A token is at least one byte, so a text of so many bytes fits a window of as many tokens. Beyond
# it a server may cut the text, silently: its embedding would be another text's too.
_OPENAI_WINDOW = 8191
_LIKELY_WINDOW = 510  # a BERT's 512, less those that mark begin and end
_SHORTEST_WINDOW = 100  # no model has less


class RemoteEmbedder:
    """Embeds by asking a server, once a text.

    With `as_caller` the server is the upstream, and asked with the credentials of whoever asks:
    what it refuses to one of them says nothing about the others.
    """

    def __init__(
        self, upstream: Upstream, model: str, dimensions: int, *, as_caller: bool = False
    ) -> None:
        self.name = f"{model}/{dimensions}"
        self.dimensions = dimensions
        self._upstream = upstream
        self._as_caller = as_caller
        family = model.rpartition("/")[2]  # gateways put the maker before it
        self._window = _OPENAI_WINDOW if family.startswith(_OPENAI) else _LIKELY_WINDOW
        self._options: dict[str, object] = {"model": model, "encoding_format": "base64"}
        if family.startswith(_SHORTENED):
            self._options["dimensions"] = dimensions

    async def embed(self, text: str, credentials: Sequence[Header] = ()) -> Embedding | None:
        """Embed a text, or return None if it may be too long.

        The length is the server's. Raises Declined, DependencyFailed, and what the server's client
        raises.
        """
        size = len(text.encode())
        if not 0 < size <= self._window:
            return None
        request = ClientRequest(
            method="POST",
            path=b"/embeddings",
            query=b"",
            headers=[*_HEADERS, *(credentials if self._as_caller else ())],
            body=json.dumps({**self._options, "input": text}).encode(),
        )
        async with aclosing(await self._upstream.send(request)) as response:
            if response.status_code == _OK:
                return self._checked(_numbers(await _read(response)))
        if response.status_code in _TOO_LONG and size > _SHORTEST_WINDOW:
            return None
        if response.status_code in _CALLERS_FAULT and self._as_caller:
            raise Declined
        raise DependencyFailed(f"it answers {response.status_code}")

    def _checked(self, numbers: NDArray[np.float64]) -> Embedding:
        if numbers.size != self.dimensions:
            raise DependencyFailed(
                f"REPRISE_EMBEDDING_DIMENSIONS={self.dimensions}, but its embeddings have "
                f"{numbers.size}"
            )
        length = float(np.linalg.norm(numbers))
        if not 0 < length < math.inf:
            raise DependencyFailed("its embedding has no direction")
        return np.asarray(numbers / length, dtype=np.float32)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._upstream.aclose()


async def _read(response: UpstreamResponse) -> bytes:
    coding = content_coding(response.headers)
    decoder = decoder_for(coding) if coding else None
    body = bytearray()
    try:
        async for data in response:
            for piece in decoder.feed(data) if decoder else (data,):
                body += piece
                if len(body) > _LARGEST:
                    raise DependencyFailed("its answer is too large")
    except ValueError as error:
        raise DependencyFailed("its answer is not in the coding it names") from error
    return bytes(body)


def _numbers(answer: bytes) -> NDArray[np.float64]:
    """Read the one embedding of an answer, whatever its length and direction."""
    try:
        (item,) = load_json(answer)["data"]
        told = item["embedding"]
        if isinstance(told, str):
            told = np.frombuffer(base64.b64decode(told, validate=True), "<f4")
        numbers = np.array(told, np.float64)
    except (NotUnderstood, LookupError, TypeError, ValueError, OverflowError) as error:
        raise DependencyFailed("its answer holds no embedding") from error
    if numbers.ndim != 1:
        raise DependencyFailed("its answer holds no embedding")
    return numbers
