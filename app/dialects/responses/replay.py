"""Renders a stored response as the client asked for it: JSON, or a stream of events."""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from app.core.cache_status import CacheStatus, Replay
from app.dialects import sse
from app.dialects.documents import json_replay, stream_replay, written
from app.dialects.responses.events import events_of
from app.dialects.sse import Event
from app.dialects.strict_json import JsonObject

# Neutral fields of a request that the answer repeats, with the values they have if the request
# does not set them. Those values are stored, so that no caller sees what another has sent.
_ECHOES: Mapping[str, object] = MappingProxyType(
    {
        "metadata": {},
        "prompt_cache_key": None,
        "prompt_cache_options": None,
        "prompt_cache_retention": None,
        "safety_identifier": None,
        "user": None,
    }
)


class Anew(NamedTuple):
    """A replay's own id (`name`) and its time (`now`, in whole seconds since 1970)."""

    name: str
    now: int


def without_echoes(response: JsonObject, asked: Mapping[str, Any]) -> JsonObject:
    """Return a response without what it repeats from its request's body, `asked`.

    Neutral fields that the request set have their default values instead.
    """
    said = {n: v for n, v in _ECHOES.items() if n in response and asked.get(n) is not None}
    return {**response, **said}


def replay(
    content: bytes,
    status: CacheStatus,
    asked: Mapping[str, Any],
    anew: Anew | None,
    *,
    stream: bool,
) -> Replay:
    """Render a stored response for the request `asked`.

    The replay gets the id and time of `anew`; if `anew` is None, the stored ones stay. Raises
    ValueError if `content` cannot be read.
    """
    response = json.loads(content)
    if not isinstance(response, dict):
        raise ValueError("the stored response is not a JSON object")
    if anew is not None:
        times = {n: anew.now for n in ("created_at", "completed_at") if response.get(n) is not None}
        response = {**response, **times, "id": anew.name}
    echoes = {n: asked[n] for n in _ECHOES if n in response and asked.get(n) is not None}
    response = {**response, **echoes}
    if stream:
        return stream_replay(b"".join(stream_of(response)), status)
    return json_replay(written(response), status)


def stream_of(response: JsonObject) -> list[bytes]:
    """Return the events of a response, each as bytes. Raises ValueError if it is malformed."""
    try:
        return [
            sse.encode_event(Event(sse.json_data(event), event["type"]))
            for event in events_of(response)
        ]
    except (AttributeError, LookupError, TypeError, RecursionError) as error:
        raise ValueError("the stored response has an unexpected shape") from error
