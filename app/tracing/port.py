"""What makes spans of requests: a port, one that makes none, and the way to the real one."""

import importlib
from typing import Protocol

from starlette.types import ASGIApp

from app.core.errors import ConfigurationError
from app.core.ports import Embedder, Upstream, Verifier, WholeStore
from app.engine.matcher import Guards

_REAL = "app.tracing.otel"  # not imported by name: nobody who traces nothing needs its libraries


class Tracing(Protocol):
    """Wraps what a request passes, so that each of it is a span."""

    def app(self, app: ASGIApp) -> ASGIApp:
        """Return an application whose requests are spans, each a child of what its client sends."""

    def store(self, store: WholeStore) -> WholeStore:
        """Return a store whose look-ups are spans."""

    def embedder(self, embedder: Embedder) -> Embedder:
        """Return an embedder whose work is a span."""

    def verifier(self, verifier: Verifier) -> Verifier:
        """Return a verifier whose work is a span."""

    def upstream(self, upstream: Upstream) -> Upstream:
        """Return an upstream whose requests are spans, and are told so by `traceparent`."""

    def guards(self) -> Guards:
        """Return guards whose work is a span."""

    async def aclose(self) -> None:
        """Send what is left, within bounds."""


class NoTracing:
    """Leaves everything as it is."""

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
    """Return what sends spans by OTLP, as the variables of OpenTelemetry's SDK say.

    `with_content`: questions and answers too. Raises ConfigurationError without the libraries.
    """
    try:
        module = importlib.import_module(_REAL)
    except ImportError as error:
        raise ConfigurationError(
            f"REPRISE_TRACES=otlp is not allowed without {error.name}: install reprise-proxy[otel]"
        ) from None
    tracing: Tracing = module.by_otlp(with_content=with_content)
    return tracing
