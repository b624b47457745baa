"""POST /cache/purge: removes all entries, or entries selected by tag, model, caller or meaning."""

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse

from app.api.admin.documents import asked, document_of, listed, refuse_unknown
from app.core.errors import InvalidRequest
from app.core.models import Clock
from app.core.selectors import EVERYTHING, Near, Selector
from app.dialects.strict_json import JsonObject
from app.engine.operations import Operations

_NAMES = ("tag", "model", "namespace")
_SELECTORS = ("all", *_NAMES, "caller", "about")
_FARTHEST = 2.0

_logger = logging.getLogger("reprise.admin")


class PurgeEndpoint:
    """Removes the entries that an operator selects, or shows them without removing them."""

    def __init__(self, operations: Operations, clock: Clock) -> None:
        self._curator = operations
        self._clock = clock

    async def __call__(self, request: Request) -> JSONResponse:
        """Remove the selected entries and return their number.

        If the body has `"dry_run": true`, remove nothing. Return the number of the selected entries
        and a list of some of these entries.
        """
        document = await document_of(request)
        refuse_unknown(document, *_SELECTORS, "max_distance", "dry_run")
        dry_run = document.get("dry_run", False)
        if not isinstance(dry_run, bool):
            raise InvalidRequest("dry_run must be true or false.")
        selector = await self._selector(document)
        if dry_run:
            return JSONResponse(await self._preview(selector))
        purged = await asked(self._curator.purge(selector))
        chosen = " and ".join(name for name in _SELECTORS if name in document)
        how = chosen if selector == EVERYTHING else f"by {chosen}"
        _logger.info("purged %s: %d entries", how, purged)
        return JSONResponse({"purged": purged, "dry_run": False})

    async def _selector(self, document: Mapping[str, Any]) -> Selector:
        chosen = [name for name in _SELECTORS if name in document]
        if chosen == ["all"] and document["all"] is True and "max_distance" not in document:
            return EVERYTHING
        if not chosen or "all" in chosen:
            raise InvalidRequest(
                'Name what to purge: {"all": true} alone, or one or more of tag, model, namespace, '
                "caller, and about with max_distance. Entries that match all of them are removed."
            )
        names = {name: _text(document, name) for name in _NAMES if name in document}
        caller = self._curator.caller(_text(document, "caller")) if "caller" in document else None
        near = await self._near(document)
        return Selector(
            names.get("tag"), names.get("model"), names.get("namespace"), near, caller=caller
        )

    async def _near(self, document: Mapping[str, Any]) -> Near | None:
        bound = document.get("max_distance")
        if ("about" in document) != (bound is not None):
            raise InvalidRequest("about and max_distance can only be used together.")
        if bound is None:
            return None
        if isinstance(bound, bool) or not isinstance(bound, int | float):
            raise InvalidRequest("max_distance must be a number.")
        if not 0 <= bound <= _FARTHEST:
            raise InvalidRequest("max_distance must be a cosine distance from 0 to 2.")
        near = await asked(self._curator.near(_text(document, "about"), float(bound)))
        if near is None:
            raise InvalidRequest(
                "The embedding model cannot represent the text of about: it is too long, or has "
                "characters that the model does not know."
            )
        return near

    async def _preview(self, selector: Selector) -> JsonObject:
        preview = await asked(self._curator.preview(selector))
        entries = [listed(stored, self._clock()) for stored in preview.entries]
        if selector.near:
            told = await asked(self._curator.distances(selector.near, preview.entries))
            entries = [e | {"distance": d} for e, d in zip(entries, told, strict=True)]
        _logger.info("previewed a purge: it would remove %d entries", preview.count)
        return {"purged": preview.count, "dry_run": True, "entries": entries}


def _text(document: Mapping[str, Any], name: str) -> str:
    value = document[name]
    if not isinstance(value, str) or not value:
        raise InvalidRequest(f"{name} must be a string, and not empty.")
    return value
