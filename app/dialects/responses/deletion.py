"""DELETE /v1/responses/{id}: the upstream forgets a response that it has stored.

https://platform.openai.com/docs/api-reference/responses/delete
"""

from urllib.parse import unquote

from app.core.models import ClientRequest

_BEFORE = b"/responses/"


def deleted_response(request: ClientRequest) -> str | None:
    """Return the id of the response that a request deletes; None for any other request."""
    if request.method != "DELETE" or not request.path.startswith(_BEFORE):
        return None
    name = unquote(request.path.removeprefix(_BEFORE).decode("latin-1"))
    return name if name and "/" not in name else None
