"""Recognises requests to delete a response at the upstream: DELETE /v1/responses/{id}.

https://platform.openai.com/docs/api-reference/responses/delete
"""

from urllib.parse import unquote_to_bytes

from app.core.models import ClientRequest

_BEFORE = b"/responses/"


def deleted_response(request: ClientRequest) -> str | None:
    """Return the id of the response that a request deletes; None for any other request."""
    path = unquote_to_bytes(request.path)
    if request.method != "DELETE" or not path.startswith(_BEFORE):
        return None
    name = path.removeprefix(_BEFORE).decode(errors="replace")
    return name if name and "/" not in name else None
