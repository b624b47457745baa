"""Renders a stored response in the form that the client asked for: JSON, or a stream of events."""

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

# Neutral fields of a request that the answer repeats, with their default values. An answer is
# stored with the default values, so that no caller sees what another caller has sent.
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
    """The new id (`name`) and time (`now`, in whole seconds since 1970) of a replay."""

    name: str
    now: int


def without_echoes(response: JsonObject, asked: Mapping[str, Any]) -> JsonObject:
    """Return a response in which default values replace the values copied from a request.

    `asked` is the body of the request. The upstream copies some neutral fields of the request to
    the response. Other callers must not see these values.
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
    """Render `content`, a stored response, for a request with the body `asked`.

    The replay gets the id and time in `anew`. If `anew` is None, the replay keeps the stored id and
    time. The replay is a stream of events if `stream` is true, else a JSON document. Raises
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
    """Return the events of a response, each as bytes.

    Raises ValueError if `response` is malformed.
    """
    try:
        return [
            sse.encode_event(Event(sse.json_data(event), event["type"]))
            for event in events_of(response)
        ]
    except (AttributeError, LookupError, TypeError, RecursionError) as error:
        raise ValueError("the stored response has an unexpected shape") from error
