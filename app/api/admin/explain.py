"""POST /cache/explain: how a request would be answered, and why."""

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse

from app.api.admin.documents import listed
from app.api.auth import ApiKeys
from app.api.paths import CHAT_COMPLETIONS
from app.api.request import RequestReader
from app.core.errors import InvalidRequest, NotUnderstood
from app.core.models import V1, ClientRequest, Header, StoredResponse
from app.core.offload import by_size
from app.dialects.dialect import Dialect
from app.dialects.strict_json import JsonObject, load_json
from app.engine.explain import Explainer, Explanation, Judged
from app.rules.headers import cache_status_value, end_to_end

_MOST_AROUND = 65_536  # bytes in addition to the explained request's body, for its headers
_USUAL = CHAT_COMPLETIONS
_SHOWN = ("id", "model", "prompt", "age", "ttl")
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~\w]+", re.ASCII)
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


def explain_route(
    explainer: Explainer, dialects: Mapping[str, Dialect], token: str
) -> Callable[[Request], Awaitable[JSONResponse]]:
    """Return the endpoint for POST /cache/explain.

    The body of a call is either the body of the request to explain, or an object `{"request": …,
    "headers": …, "route": …}`. The object contains the body, headers and route of the request to
    explain. Without `headers`, the headers of the call are used, except the header that contains
    `token`. Without `route`, the request to explain is treated as a chat completion. `dialects`
    maps each cached route to its dialect.
    """
    api_keys = ApiKeys([token] if token else [])
    most = explainer.limits.max_bytes

    async def explain(request: Request) -> JSONResponse:
        headers = [line for line in request.scope["headers"] if not api_keys.knows([line])]
        body, route = await RequestReader(request.receive).body(most + _MOST_AROUND), _USUAL
        if body is not None:
            whole = body
            body, headers, route = await by_size(len(whole), lambda: _asked(whole, headers))
        if (dialect := dialects.get(route)) is None:
            raise InvalidRequest(f"route must be one of {', '.join(dialects)}.")
        asked = ClientRequest(
            method="POST",
            path=route.encode().removeprefix(V1),
            query=request.scope["query_string"],
            headers=end_to_end(headers),
            body=body or b"",
        )
        is_read = body is not None and len(body) <= most
        told = await explainer.explain(dialect, asked, body if is_read else None)
        return JSONResponse(_told(told, explainer))

    return explain


def _asked(body: bytes, headers: list[Header]) -> tuple[bytes, list[Header], str]:
    """Return the body, headers and route of the request to explain.

    The arguments are the body and headers of the call itself. Raises InvalidRequest if the field
    "headers" or "route" in `body` is invalid, or if `body` has an unknown field.
    """
    try:
        document = load_json(body)
    except NotUnderstood:
        return body, headers, _USUAL  # the explanation will say that it is not JSON
    if not isinstance(document, dict) or "request" not in document or "messages" in document:
        return body, headers, _USUAL
    if set(document) - {"request", "headers", "route"}:
        raise InvalidRequest(
            'A body with "request" may also have "headers" and "route", and nothing else.'
        )
    if "headers" in document:
        headers = _lines(document["headers"])
    if not isinstance(route := document.get("route", _USUAL), str):
        raise InvalidRequest("route must be a string.")
    return json.dumps(document["request"]).encode(), headers, route


def _lines(headers: Any) -> list[Header]:
    """Return the headers in a JSON object of names and values.

    If a value is a list, each element of the list becomes one header. Raises InvalidRequest if a
    name or a value is invalid.
    """
    if not isinstance(headers, dict):
        raise InvalidRequest("headers must be an object with the value of each header by its name.")
    lines = []
    for name, told in headers.items():
        for value in told if isinstance(told, list) else [told]:
            if not isinstance(value, str) or not _VALUE.fullmatch(value):
                raise InvalidRequest(
                    "The value of a header must be a string, or a list of strings, of characters "
                    "that HTTP allows."
                )
            if not _NAME.fullmatch(name):
                raise InvalidRequest("A name in headers is not a valid name of an HTTP header.")
            lines.append((name.lower().encode(), value.strip(" \t").encode("latin-1")))
    return lines


def _told(told: Explanation, explainer: Explainer) -> JsonObject:
    status = told.status
    return {
        "outcome": status.outcome.value if status else "REFUSED",
        "cache_status": cache_status_value(status) if status else None,
        "tier": status.tier.value if status and status.tier else None,
        "mode": explainer.mode.value,
        "rule": told.rule or None,
        "shadow": status.shadow.outcome.value if status and status.shadow else None,
        "entry": (status.entry if status else "") or None,
        "cacheable": told.bypass is None,
        "bypass": told.bypass,
        "key": _key(told),
        "exact": told.exact and _judged(told.exact, told.now),
        "nearest": told.nearest and [_nearest(judged, told.now) for judged in told.nearest],
        "limits": _limits(told, explainer),
        "elsewhere": _elsewhere(told),
        "unavailable": sorted(told.failures),
    }


def _limits(told: Explanation, explainer: Explainer) -> JsonObject:
    """Return the limits for hits by meaning that apply to the explained request.

    If that request bypasses the cache, return the limits that the settings give.
    """
    if told.key is None:
        return {
            "max_distance": explainer.limits.max_distance,
            "min_probability": explainer.least,
        }
    return {"max_distance": told.max_distance, "min_probability": told.min_probability}


def _key(told: Explanation) -> JsonObject | None:
    if told.key is None:
        return None
    return {
        "id": told.key.digest,
        "partition": told.key.partition,
        "exact_only": told.exact_only,
        "parts": dict(told.parts),
    }


def _judged(judged: Judged, now: float) -> JsonObject:
    verdict = {"answers": judged.answers, "refused_by": judged.refused_by}
    return _listed(judged.stored, now) | verdict


def _nearest(judged: Judged, now: float) -> JsonObject:
    return _judged(judged, now) | {
        "distance": round(judged.distance or 0.0, 4),
        "guards": list(judged.guards),
        "probability": judged.probability and round(judged.probability, 4),
    }


def _elsewhere(told: Explanation) -> JsonObject | None:
    if told.key is None:
        return None
    found = told.elsewhere
    return {
        "differs": None if found is None else list(found.differs),
        "entry": None if found is None else _listed(found.stored, told.now),
        "searched": told.searched,
        "searched_all": told.searched_all,
    }


def _listed(stored: StoredResponse, now: float) -> JsonObject:
    whole = listed(stored, now)
    return {name: whole[name] for name in _SHOWN}
