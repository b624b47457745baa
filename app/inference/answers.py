"""The answer of a server that runs a model, read up to a greatest size."""

from app.core.content_codings import content_coding, decoder_for
from app.core.errors import DependencyFailed
from app.core.models import Header
from app.core.ports import UpstreamResponse

JSON_HEADERS: tuple[Header, ...] = (
    (b"content-type", b"application/json"),
    (b"accept", b"application/json"),
    (b"accept-encoding", b"identity"),
)
"""Headers of a request to a server that runs a model."""

TOO_LONG = frozenset({400, 413, 422})
"""Statuses that may mean that a text is longer than the model's window."""

LIKELY_WINDOW = 510
"""Bytes that fit the window of any usual model: a BERT's 512, less those that mark begin and end.

A token is at least one byte. Beyond its window a server may cut a text, silently.
"""

SHORTEST_WINDOW = 100  # bytes; no model has fewer

_LARGEST = 1_048_576  # bytes of an answer


async def read_answer(response: UpstreamResponse) -> bytes:
    """Return the whole body, without its content coding.

    Raises DependencyFailed if it is larger than 1 MiB or cannot be decoded, and what the HTTP
    client raises.
    """
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
