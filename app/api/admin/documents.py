"""Reads and writes the JSON documents of the operators' routes."""

from collections.abc import Awaitable, Mapping
from typing import Any, TypeVar

from fastapi import Request

from app.api.request import RequestReader
from app.core.cache_status import whole_ttl
from app.core.errors import (
    BodyTooLarge,
    DependencyUnavailable,
    EmbedderUnavailable,
    InvalidRequest,
    NotUnderstood,
    StoreUnavailable,
)
from app.core.models import StoredResponse
from app.core.selectors import Selector
from app.dialects.strict_json import JsonObject, load_json

T = TypeVar("T")

_MOST_BODY = 65_536


async def asked(work: Awaitable[T]) -> T:
    """Await `work` and return its result.

    Raises EmbedderUnavailable if the embedder failed. Raises StoreUnavailable if the store failed.
    """
    try:
        return await work
    except DependencyUnavailable as unavailable:
        if unavailable.detail == "embedder-unavailable":
            raise EmbedderUnavailable(
                "The embedder failed to embed the text; see the proxy's log for the reason."
            ) from None
        raise StoreUnavailable(
            "The store failed or was too slow; see the proxy's log for the reason."
        ) from unavailable


async def document_of(request: Request) -> Mapping[str, Any]:
    """Return the JSON object in a request's body.

    Raises InvalidRequest if the body is not a JSON object. Raises BodyTooLarge if the body has more
    than 65,536 bytes.
    """
    body = await RequestReader(request.receive).body(_MOST_BODY)
    if body is None:
        raise BodyTooLarge(f"The body is longer than {_MOST_BODY} bytes.")
    try:
        document = load_json(body)
    except NotUnderstood as unknown:
        raise InvalidRequest("The body is not valid JSON.") from unknown
    if not isinstance(document, dict):
        raise InvalidRequest("The body must be a JSON object.")
    return document


def selector_in(query: Mapping[str, str], *others: str) -> Selector:
    """Return the selector that the parameters of a query string describe.

    The parameters `tag`, `model` and `namespace` are read. The query string may also have the
    parameters named in `others`. Raises InvalidRequest if it has any further parameter.
    """
    refuse_unknown(query, *others, "tag", "model", "namespace")
    return Selector(query.get("tag"), query.get("model"), query.get("namespace"))


def refuse_unknown(names: Mapping[str, object], *known: str) -> None:
    """Raise InvalidRequest if one of `names` is not in `known`.

    Without this check, a misspelt name would be ignored, and too many entries would be selected.
    """
    if unknown := sorted(set(names) - set(known)):
        raise InvalidRequest(
            f"Unknown names: {', '.join(unknown)}. The known ones are {', '.join(known)}."
        )


def listed(stored: StoredResponse, now: float) -> JsonObject:
    """Return the JSON object that describes a stored response in a list of entries.

    The object does not contain the text of the answer. `now` is the time at which the age is
    computed, in seconds since 1970.
    """
    return {
        "id": stored.id,
        "dialect": stored.dialect,
        "model": stored.model,
        "namespace": stored.tagging.namespace or None,
        "tags": sorted(stored.tagging.tags),
        "prompt": stored.key.text,
        "stored_at": stored.stored_at,
        "age": int(stored.age(now)),
        "ttl": whole_ttl(stored, now),
        "bytes": len(stored.content),
        "disputed": stored.is_disputed,
        "pinned": stored.is_pinned,
    }
