"""The port of tracing, an implementation that does nothing, and a loader of the real one."""

import importlib
from typing import Protocol

from starlette.types import ASGIApp

from app.core.errors import ConfigurationError
from app.core.ports import Embedder, Upstream, Verifier, WholeStore
from app.engine.matcher import Guards

_REAL = "app.tracing.otel"  # imported on demand: its libraries are optional


class Tracing(Protocol):
    """Wraps the parts that a request passes through, so that their work becomes spans."""

    def app(self, app: ASGIApp) -> ASGIApp:
        """Return an application whose requests are spans, children of the client's spans."""

    def store(self, store: WholeStore) -> WholeStore:
        """Return a store whose look-ups are spans."""

    def embedder(self, embedder: Embedder) -> Embedder:
        """Return an embedder that records each call as a span."""

    def verifier(self, verifier: Verifier) -> Verifier:
        """Return a verifier that records each call as a span."""

    def upstream(self, upstream: Upstream) -> Upstream:
        """Return an upstream whose requests are spans and get a `traceparent` header."""

    def guards(self) -> Guards:
        """Return guards that record their work as a span."""

    async def aclose(self) -> None:
        """Send the remaining spans, for a limited time."""


class NoTracing:
    """Tracing that wraps nothing and makes no spans."""

    def app(self, app: ASGIApp) -> ASGIApp:
        return app

    def store(self, store: WholeStore) -> WholeStore:
        return store

    def embedder(self, embedder: Embedder) -> Embedder:
        return embedder

    def verifier(self, verifier: Verifier) -> Verifier:
        return verifier

    def upstream(self, upstream: Upstream) -> Upstream:
        return upstream

    def guards(self) -> Guards:
        return Guards()

    async def aclose(self) -> None:
        """Do nothing."""


def open_telemetry(*, with_content: bool) -> Tracing:
    """Return the Tracing that sends spans by OTLP, set up by the variables of OpenTelemetry's SDK.

    If `with_content` is true, spans also contain questions and answers. Raises ConfigurationError
    if the libraries are not installed.
    """
    try:
        module = importlib.import_module(_REAL)
    except ImportError as error:
        raise ConfigurationError(
            f"REPRISE_TRACES=otlp is not allowed without {error.name}: install reprise-proxy[otel]"
        ) from None
    tracing: Tracing = module.by_otlp(with_content=with_content)
    return tracing
