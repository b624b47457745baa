"""A client for the operators' routes of a running proxy."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException
from typing import Any
from urllib.parse import urlencode, urlsplit

from app.api.middleware import is_loopback
from app.core.errors import BadInput, CallFailed

_PATIENCE = 60.0  # seconds


class AdminClient:
    """Calls the operators' routes of the proxy at `base_url`.

    Raises BadInput if `base_url` is not a URL.
    """

    def __init__(self, base_url: str, token: str) -> None:
        if not base_url.startswith(("http://", "https://")):
            raise BadInput(
                f"--url {base_url} is not allowed: it must be an http:// or https:// URL"
            )
        self._base_url = base_url.rstrip("/").removesuffix("/v1")
        # For this machine, HTTP_PROXY is ignored: that proxy would see the token, or could not
        # reach this machine.
        own = is_loopback(urlsplit(base_url).hostname or "")
        direct = [urllib.request.ProxyHandler({})] if own else []
        self._opener = urllib.request.build_opener(*direct)
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def stats(self) -> dict[str, Any]:
        """Return what GET /cache/stats answers. Raises CallFailed."""
        return self._call("GET", "/cache/stats")

    def report(self) -> dict[str, Any]:
        """Return what GET /cache/report answers. Raises CallFailed."""
        return self._call("GET", "/cache/report")

    def purge(self, selector: Mapping[str, object], *, dry_run: bool) -> dict[str, Any]:
        """Remove the entries that `selector` selects. Raises CallFailed.

        If `dry_run` is true, remove nothing. In both cases, return the answer, which has the number
        of the selected entries.
        """
        return self._call("POST", "/cache/purge", {**selector, "dry_run": dry_run})

    def export(self, cursor: str | None) -> Iterator[bytes]:
        """Yield the lines of an export. Raises CallFailed.

        The export begins at `cursor`, which comes from an earlier export. If `cursor` is None, the
        export begins at the first entry. If the connection breaks off, the iterator ends and raises
        no error.
        """
        query = "" if cursor is None else f"?{urlencode({'cursor': cursor})}"
        with self._answer("GET", f"/cache/export{query}") as response:
            try:
                yield from response
            except (OSError, HTTPException):
                return

    def import_lines(self, lines: bytes) -> dict[str, Any]:
        """Import lines of an export; return how many entries had each result. Raises CallFailed."""
        return self._read("POST", "/cache/import", lines)

    def _call(self, method: str, path: str, document: object = None) -> dict[str, Any]:
        return self._read(method, path, None if document is None else json.dumps(document).encode())

    def _read(self, method: str, path: str, body: bytes | None) -> dict[str, Any]:
        with self._answer(method, path, body) as response:
            answer: dict[str, Any] = json.loads(response.read())
            return answer

    @contextmanager
    def _answer(self, method: str, path: str, body: bytes | None = None) -> Iterator[Any]:
        url = self._base_url + path
        request = urllib.request.Request(url, body, self._headers, method=method)  # noqa: S310
        try:
            with self._opener.open(request, timeout=_PATIENCE) as response:
                yield response
        except urllib.error.HTTPError as error:
            raise CallFailed(f"{url} answered {error.code}: {_message(error)}") from None
        except (OSError, ValueError, HTTPException) as error:
            raise CallFailed(f"{url} cannot be reached: {error}") from None


def _message(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.loads(error.read())["error"]["message"])
    except (OSError, ValueError, LookupError, TypeError):
        return str(error.reason)
