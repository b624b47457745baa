"""What a model's server answers, read to a bound."""

from app.core.content_codings import content_coding, decoder_for
from app.core.errors import DependencyFailed
from app.core.models import Header
from app.core.ports import UpstreamResponse

JSON_HEADERS: tuple[Header, ...] = (
    (b"content-type", b"application/json"),
    (b"accept", b"application/json"),
    (b"accept-encoding", b"identity"),
)
"""What a request to such a server carries."""

TOO_LONG = frozenset({400, 413, 422})
"""What servers answer to a text beyond the window, too."""

LIKELY_WINDOW = 510
"""Bytes that fit the window of any usual model: a BERT's 512, less those that mark begin and end.

A token is at least one byte. Beyond its window a server may cut a text, silently.
"""

SHORTEST_WINDOW = 100  # no model has less

_LARGEST = 1_048_576  # bytes of an answer


async def read_answer(response: UpstreamResponse) -> bytes:
    """Return a whole body, decoded. Raises DependencyFailed, and what the client raises."""
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
