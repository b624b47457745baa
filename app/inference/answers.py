"""Reads the answers of model servers, with a limit on the size of an answer."""

from app.core.content_codings import content_coding, decoder_for
from app.core.errors import DependencyFailed
from app.core.models import Header
from app.core.ports import UpstreamResponse

JSON_HEADERS: tuple[Header, ...] = (
    (b"content-type", b"application/json"),
    (b"accept", b"application/json"),
    (b"accept-encoding", b"identity"),
)
"""Headers of a request to a model server."""

TOO_LONG = frozenset({400, 413, 422})
"""HTTP statuses by which a server may report that a text is longer than the model's window."""

LIKELY_WINDOW = 510
"""The number of bytes of a text that fit the window of any usual model.

Each token has at least one byte. The number is BERT's 512 tokens, less two tokens that mark the
beginning and the end. A server may silently cut a longer text.
"""

SHORTEST_WINDOW = 100  # bytes of text that fit the window of every model

_LARGEST = 1_048_576  # bytes of an answer


async def read_answer(response: UpstreamResponse) -> bytes:
    """Return the whole body of a response, decoded from its content coding.

    Raises DependencyFailed if the body is larger than 1 MiB or cannot be decoded. Also raises the
    errors that occur while `response` is read.
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
        raise DependencyFailed(
            "its answer does not have the content coding that its header names"
        ) from error
    return bytes(body)
