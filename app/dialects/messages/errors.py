"""Error responses of Reprise in Anthropic's format.

https://platform.claude.com/docs/en/api/errors
"""

from collections.abc import Mapping
from types import MappingProxyType

from app.dialects.strict_json import JsonObject

_TYPES: Mapping[int, str] = MappingProxyType(
    {
        400: "invalid_request_error",
        401: "authentication_error",
        403: "permission_error",
        404: "not_found_error",
        413: "request_too_large",
        429: "rate_limit_error",
        431: "invalid_request_error",
        501: "invalid_request_error",
        504: "timeout_error",
    }
)


def error_body(status_code: int, message: str, request_id: str) -> JsonObject:
    """Return the JSON body of an error response in Anthropic's format."""
    error = {"type": _TYPES.get(status_code, "api_error"), "message": message}
    return {"type": "error", "error": error, "request_id": request_id}
