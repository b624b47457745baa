"""Wraps the application, store, models and upstream, to record their work as spans.

The spans are OpenTelemetry spans. The engine contains no code for spans.
"""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, cast

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import (
    Span,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    format_trace_id,
    use_span,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import __version__
from app.api.paths import is_api, route_of
from app.core.cache_status import CacheStatus
from app.core.calibration import Calibration
from app.core.metrics import trace_id
from app.core.models import (
    Candidate,
    ClientRequest,
    Embedding,
    Header,
    StoredEmbedding,
    StoredResponse,
    StoredText,
    Verdict,
)
from app.core.ports import Embedder, Upstream, UpstreamResponse, Verifier, WholeStore
from app.engine.matcher import Guards
from app.rules.headers import value_of
from app.tracing.genai import AnswerNotes, asked, span_name
from app.tracing.port import Tracing

_CLOSING_SECONDS = 3.0
_SERVER_ERROR, _ERROR = 500, 400
_CONTEXT = (b"traceparent", b"tracestate")  # https://www.w3.org/TR/trace-context/
_PROPAGATOR = TraceContextTextMapPropagator()


def by_otlp(*, with_content: bool) -> Tracing:
    """Return a Tracing that sends spans to a collector by OTLP.

    The address and the options come from the environment variables whose names begin with
    `OTEL_EXPORTER_OTLP_`. If `with_content` is true, the spans also contain questions and answers.
    """
    told: dict[str, str | int] = {
        "service.name": os.environ.get("OTEL_SERVICE_NAME") or "reprise",
        "service.version": __version__,
        "process.pid": os.getpid(),
    }
    provider = TracerProvider(resource=Resource.create(told), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return OpenTelemetry(provider, with_content=with_content)


class OpenTelemetry:
    """Records requests as spans.

    If `with_content` is true, the spans also contain questions and answers.
    """

    def __init__(self, provider: TracerProvider, *, with_content: bool = False) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("reprise", __version__)
        self._with_content = with_content

    def app(self, app: ASGIApp) -> ASGIApp:
        return _TracedApp(app, self._tracer)

    def store(self, store: WholeStore) -> WholeStore:
        return cast("WholeStore", _TracedStore(store, self._tracer))

    def embedder(self, embedder: Embedder) -> Embedder:
        return _TracedEmbedder(embedder, self._tracer)

    def verifier(self, verifier: Verifier) -> Verifier:
        return _TracedVerifier(verifier, self._tracer)

    def upstream(self, upstream: Upstream) -> Upstream:
        return _TracedUpstream(upstream, self._tracer, with_content=self._with_content)

    def guards(self) -> Guards:
        return _TracedGuards(self._tracer)

    async def aclose(self) -> None:
        """Send the remaining spans. The wait for the collector's answer is limited."""
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        await asyncio.to_thread(closing.join, _CLOSING_SECONDS)


class _TracedApp:
    """Makes one span for each request to the API.

    The span begins with the head of the request, and ends with the last byte of the answer.
    """

    def __init__(self, app: ASGIApp, tracer: Tracer) -> None:
        self._app = app
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not is_api(scope["path"]):
            await self._app(scope, receive, send)
            return
        route, headers = route_of(scope["path"]), scope["headers"]
        told = {name: v for name in _CONTEXT if (v := value_of(headers, name)) is not None}
        attributes = {"http.request.method": scope["method"], "url.path": scope["path"]}
        if route:
            attributes["http.route"] = route
        with self._tracer.start_as_current_span(
            f"{scope['method']} {route or 'other'}",
            context=_PROPAGATOR.extract({name.decode(): value for name, value in told.items()}),
            kind=SpanKind.SERVER,
            attributes=attributes,
        ) as span:
            trace_id.set(format_trace_id(span.get_span_context().trace_id))

            async def watched_send(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                    if message["status"] >= _SERVER_ERROR:
                        span.set_status(Status(StatusCode.ERROR))
                await send(message)

            scope.setdefault("state", {})
            try:
                await self._app(scope, receive, watched_send)
            finally:
                _note(span, scope["state"].get("cache_status"))


def _note(span: Span, status: CacheStatus | None) -> None:
    """Describe in the attributes of a span how the cache handled the request."""
    if status is None:
        return
    told: dict[str, Any] = {
        "reprise.outcome": status.outcome.value,
        "reprise.tier": status.tier and status.tier.value,
        "reprise.distance": status.distance,
        "reprise.entry": status.entry,
        "reprise.detail": status.detail,
        "reprise.shadow": status.shadow and status.shadow.outcome.value,
    }
    span.set_attributes({name: value for name, value in told.items() if value not in (None, "")})


class _TracedStore:
    """A store that records each look-up as a span. Other methods are called unchanged."""

    def __init__(self, store: WholeStore, tracer: Tracer) -> None:
        self._store = store
        self._tracer = tracer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def get(self, digest: str) -> StoredResponse | None:
        with self._tracer.start_as_current_span("cache look-up") as span:
            stored = await self._store.get(digest)
            span.set_attribute("reprise.found", stored is not None)
            return stored

    async def get_embeddings(self, digests: Sequence[str]) -> Sequence[StoredEmbedding | None]:
        with self._tracer.start_as_current_span("cache look-up") as span:
            stored = await self._store.get_embeddings(digests)
            span.set_attribute("reprise.inputs", len(digests))
            return stored

    async def nearest(
        self, partition: str, embedding: Embedding, k: int, max_distance: float
    ) -> Sequence[Candidate]:
        with self._tracer.start_as_current_span("cache search") as span:
            found = await self._store.nearest(partition, embedding, k, max_distance)
            span.set_attribute("reprise.candidates", len(found))
            return found


class _TracedEmbedder:
    """An embedder that records each call as a span."""

    def __init__(self, embedder: Embedder, tracer: Tracer) -> None:
        self._embedder = embedder
        self._tracer = tracer
        self.name = embedder.name
        self.dimensions = embedder.dimensions

    async def embed(self, text: str, credentials: Sequence[Header] = ()) -> Embedding | None:
        told = {"gen_ai.operation.name": "embeddings", "gen_ai.request.model": self.name}
        with self._tracer.start_as_current_span(f"embeddings {self.name}", attributes=told):
            return await self._embedder.embed(text, credentials)

    async def aclose(self) -> None:
        await self._embedder.aclose()


class _TracedVerifier:
    """A verifier that records each call as a span."""

    def __init__(self, verifier: Verifier, tracer: Tracer) -> None:
        self._verifier = verifier
        self._tracer = tracer

    @property
    def calibration(self) -> Calibration:
        return self._verifier.calibration

    async def verify(self, asked: str, candidates: Sequence[StoredText]) -> Sequence[float]:
        with self._tracer.start_as_current_span("verify") as span:
            told = await self._verifier.verify(asked, candidates)
            span.set_attribute("reprise.candidates", len(candidates))
            span.set_attribute("reprise.probability", max(told, default=0.0))
            return told

    async def aclose(self) -> None:
        await self._verifier.aclose()


class _TracedGuards(Guards):
    """Guards that record their work as a span.

    The span ends when the iterator over the verdicts ends or is closed.
    """

    def __init__(self, tracer: Tracer) -> None:
        super().__init__()
        self._tracer = tracer

    def verdicts(self, asked: str, candidates: Iterable[Candidate]) -> Iterator[Verdict]:
        # This span is not made the current span, because guards may run in a thread.
        span = self._tracer.start_span("guards")
        refused = 0
        try:
            for verdict in super().verdicts(asked, candidates):
                refused += verdict.refused_by is not None
                yield verdict
        finally:
            span.set_attribute("reprise.refused", refused)
            span.end()


class _TracedUpstream:
    """An upstream that records each request as a span.

    The span begins when the request is sent, and ends when the response is closed.
    """

    def __init__(self, upstream: Upstream, tracer: Tracer, *, with_content: bool) -> None:
        self._upstream = upstream
        self._tracer = tracer
        self._with_content = with_content

    async def send(self, request: ClientRequest) -> UpstreamResponse:
        attributes = asked(request, with_content=self._with_content)
        span = self._tracer.start_span(
            span_name(attributes, request.method), kind=SpanKind.CLIENT, attributes=attributes
        )
        try:
            with use_span(span, record_exception=False):
                response = await self._upstream.send(_with_context(request))
        except BaseException as error:
            span.set_attribute("error.type", type(error).__name__)
            span.end()
            raise
        span.set_attribute("http.response.status_code", response.status_code)
        if response.status_code >= _ERROR:
            span.set_status(Status(StatusCode.ERROR))
        return _TracedResponse(response, span, with_content=self._with_content)

    async def aclose(self) -> None:
        await self._upstream.aclose()


class _TracedResponse:
    """An upstream response that ends `span` when the response is closed."""

    def __init__(self, response: UpstreamResponse, span: Span, *, with_content: bool) -> None:
        self.status_code = response.status_code
        self.headers = response.headers
        self._response = response
        self._span = span
        kind = value_of(response.headers, b"content-type") or ""
        is_stream = kind.startswith("text/event-stream")
        self._notes = AnswerNotes(is_stream=is_stream, with_content=with_content)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._response:
                self._notes.feed(piece)
                yield piece
        except Exception as error:
            self._span.set_attribute("error.type", type(error).__name__)
            self._span.set_status(Status(StatusCode.ERROR))
            raise

    async def aclose(self) -> None:
        try:
            await self._response.aclose()
        finally:
            if self._span.is_recording():
                with suppress(Exception):  # an answer may contain anything
                    self._span.set_attributes(self._notes.attributes())
                self._span.end()


def _with_context(request: ClientRequest) -> ClientRequest:
    """Return a copy of a request. The copy has trace headers that name the current span."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    told = [(name.encode(), value.encode()) for name, value in carrier.items()]
    return replace(request, headers=[*(h for h in request.headers if h[0] not in _CONTEXT), *told])
