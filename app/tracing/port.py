"""The protocol for tracing, an implementation without effect, and the import of OpenTelemetry."""

import importlib
from typing import Protocol

from starlette.types import ASGIApp

from app.core.errors import ConfigurationError
from app.core.ports import Embedder, Upstream, Verifier, WholeStore
from app.engine.matcher import Guards

_REAL = "app.tracing.otel"  # imported on demand: its libraries are optional


class Tracing(Protocol):
    """Wraps the parts through which a request passes, so that they record their work as spans."""

    def app(self, app: ASGIApp) -> ASGIApp:
        """Return `app`, wrapped: each request becomes a span, a child of the client's span."""

    def store(self, store: WholeStore) -> WholeStore:
        """Return `store`, wrapped: each look-up becomes a span."""

    def embedder(self, embedder: Embedder) -> Embedder:
        """Return `embedder`, wrapped: each call becomes a span."""

    def verifier(self, verifier: Verifier) -> Verifier:
        """Return `verifier`, wrapped: each call becomes a span."""

    def upstream(self, upstream: Upstream) -> Upstream:
        """Return `upstream`, wrapped: each request becomes a span and gets trace headers."""

    def guards(self) -> Guards:
        """Return guards that record their work as a span."""

    async def aclose(self) -> None:
        """Send the remaining spans, for a limited time."""


class NoTracing:
    """A Tracing that returns each part unchanged, so that there are no spans."""

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
    """Return a Tracing that sends spans to a collector by OTLP.

    The address and the options come from the environment variables of OpenTelemetry's SDK. If
    `with_content` is true, the spans also contain questions and answers. Raises ConfigurationError
    if OpenTelemetry's libraries are not installed.
    """
    try:
        module = importlib.import_module(_REAL)
    except ImportError as error:
        raise ConfigurationError(
            f"REPRISE_TRACES=otlp is not allowed without {error.name}: install reprise-proxy[otel]"
        ) from None
    tracing: Tracing = module.by_otlp(with_content=with_content)
    return tracing
