"""What a trace of a request contains, and what it must not contain."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.core.errors import ConfigurationError
from app.tracing import port
from tests.behaviour.test_stale import chat, unavailable
from tests.fakes import completion
from tests.servers import Exchange, Setup

pytest.importorskip("opentelemetry.sdk", reason="the extra `otel` is not installed")

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from app.tracing.otel import OpenTelemetry

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CONTEXT = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=1"}


class Traces:
    """The spans that the proxy made."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()

    def open(self, *, with_content: bool) -> OpenTelemetry:
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        return OpenTelemetry(provider, with_content=with_content)

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        spans: Sequence[ReadableSpan] = self.exporter.get_finished_spans()
        return spans

    def one(self, name: str) -> ReadableSpan:
        (span,) = [span for span in self.spans if span.name == name]
        return span

    def told(self) -> str:
        return "".join(span.to_json() for span in self.spans)


@pytest.fixture
def traces(monkeypatch: pytest.MonkeyPatch) -> Traces:
    """Traces that stay in this process instead of being sent."""
    traces = Traces()
    monkeypatch.setattr("app.main.open_telemetry", traces.open)
    return traces


@asynccontextmanager
async def client_of(**settings: Any) -> AsyncIterator[tuple[httpx.AsyncClient, Setup]]:
    setup = Setup(traces="otlp", **settings)
    async with setup.run() as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
        yield client, setup


async def ask(
    client: httpx.AsyncClient, text: str, headers: Any = None, **fields: Any
) -> httpx.Response:
    response = await client.post("chat/completions", json=chat(text, **fields), headers=headers)
    await response.aread()
    return response


def names(traces: Traces) -> list[str]:
    return [span.name for span in traces.spans]


ROOT = "POST /v1/chat/completions"


async def test_a_miss_is_one_span_with_children_for_each_part(traces: Traces) -> None:
    async with client_of(verifier="on") as (client, setup):
        await ask(client, "valkey what")
        setup.verifier.answer = lambda _: 0.1
        await ask(client, "valkey is what")
    root = max((s for s in traces.spans if s.name == ROOT), key=lambda s: s.start_time or 0)
    assert root.context is not None
    spans = [s for s in traces.spans if s.context and s.context.trace_id == root.context.trace_id]
    parts = ["cache look-up", "cache look-up", "embeddings fake", "cache search", "guards"]
    assert sorted(s.name for s in spans) == sorted([ROOT, *parts, "verify", "chat m"])
    for span in spans:
        assert span is root or (span.parent and span.parent.span_id == root.context.span_id)
    assert dict(root.attributes or {}) == {
        "http.request.method": "POST",
        "url.path": "/v1/chat/completions",
        "http.route": "/v1/chat/completions",
        "http.response.status_code": 200,
        "reprise.outcome": "MISS",
        "reprise.entry": (root.attributes or {})["reprise.entry"],
    }


@pytest.mark.parametrize("is_stream", [False, True])
async def test_the_upstreams_span_follows_the_conventions_for_generative_ai(
    traces: Traces, is_stream: bool
) -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}

    async def answer(exchange: Exchange) -> None:
        await exchange.read()
        if not is_stream:
            await exchange.answer({**completion("Well."), "model": "m-2", "usage": usage})
            return
        shape = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m-2"}
        choice = {"index": 0, "delta": {"content": "Well."}, "finish_reason": "stop"}
        await exchange.stream(
            {**shape, "choices": [choice]}, {**shape, "choices": [], "usage": usage}
        )

    async with client_of() as (client, setup):
        setup.upstream.handler = answer
        await ask(client, "valkey what", temperature=0.5, max_tokens=9, stream=is_stream)
    told = dict(traces.one("chat m").attributes or {})
    reasons = told.pop("gen_ai.response.finish_reasons", None)
    assert is_stream or reasons == ("stop",)
    assert told == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "m",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 9,
        "gen_ai.response.model": "m-2",
        "gen_ai.usage.input_tokens": 5,
        "gen_ai.usage.output_tokens": 7,
        "http.response.status_code": 200,
    }


async def test_the_context_comes_from_the_client_and_goes_upstream(traces: Traces) -> None:
    async with client_of() as (client, setup):
        await ask(client, "valkey what", CONTEXT)
    root, upstream = traces.one(ROOT), traces.one("chat m")
    assert root.parent is not None
    assert upstream.context is not None
    assert f"{root.parent.span_id:016x}" == PARENT
    (exchange,) = setup.upstream.exchanges
    sent = f"00-{TRACE}-{upstream.context.span_id:016x}-01".encode()
    assert exchange.header(b"traceparent") == [sent]
    assert exchange.header(b"tracestate") == [b"vendor=1"]


async def test_two_traces_share_an_answer_all_the_same(traces: Traces) -> None:
    async with client_of() as (client, _):
        await ask(client, "valkey what", CONTEXT)
        hit = await ask(client, "valkey what")
    assert hit.headers["x-cache"] == "HIT"
    told = dict([s for s in traces.spans if s.name == ROOT][-1].attributes or {})
    assert (told["reprise.outcome"], told["reprise.tier"]) == ("HIT", "exact")


async def test_no_question_and_no_answer_is_told_unless_asked_for(traces: Traces) -> None:
    async with client_of(api_keys="sk-secret") as (client, _):
        for text in ("valkey what", "valkey is what"):
            await ask(client, text, {"authorization": "Bearer sk-secret"}, user="ann")
    for secret in ("valkey", "Answer to", "sk-secret", "ann"):
        assert secret not in traces.told()


async def test_with_content_the_question_and_the_answer_are_told(traces: Traces) -> None:
    async with client_of(trace_content=True) as (client, _):
        await ask(client, "valkey what")
    told = dict(traces.one("chat m").attributes or {})
    assert json.loads(str(told["gen_ai.input.messages"])) == [
        {"role": "user", "parts": [{"type": "text", "content": "valkey what"}]}
    ]
    assert json.loads(str(told["gen_ai.output.messages"])) == [
        {"role": "assistant", "parts": [{"type": "text", "content": "Answer to valkey what"}]}
    ]


async def test_a_failing_upstream_fails_its_span(traces: Traces) -> None:
    async with client_of() as (client, setup):
        setup.upstream.handler = unavailable
        await ask(client, "valkey what")
    assert traces.one("chat m").status.status_code.name == "ERROR"
    assert traces.one(ROOT).status.status_code.name == "ERROR"


async def test_a_client_that_leaves_ends_its_span(traces: Traces) -> None:
    arrived = asyncio.Event()

    async def never(exchange: Exchange) -> None:
        await exchange.read()
        arrived.set()
        await exchange.disconnected()

    async with client_of() as (client, setup):
        setup.upstream.handler = never
        task = asyncio.create_task(ask(client, "valkey what"))
        await arrived.wait()
        task.cancel()
        while ROOT not in names(traces) or "chat m" not in names(traces):
            await asyncio.sleep(0)
    assert "reprise.outcome" not in dict(traces.one(ROOT).attributes or {})


async def test_health_and_metrics_are_no_traces(traces: Traces) -> None:
    async with client_of() as (client, _):
        for path in ("healthz", "readyz", "metrics"):
            await client.get(str(client.base_url).replace("/v1/", f"/{path}"))
    assert traces.spans == ()


async def test_durations_carry_the_trace_as_an_exemplar(traces: Traces) -> None:
    async with client_of() as (client, _):
        await ask(client, "valkey what", CONTEXT)
        asked = {"accept": "application/openmetrics-text; version=1.0.0"}
        told = await client.get("../metrics", headers=asked)
        plain = await client.get("../metrics")
    assert told.headers["content-type"].startswith("application/openmetrics-text")
    families = {family.name: family for family in text_string_to_metric_families(told.text)}
    (exemplar,) = (
        sample.exemplar
        for sample in families["reprise_upstream_seconds"].samples
        if sample.exemplar
    )
    assert exemplar.labels == {"trace_id": TRACE}
    assert TRACE not in plain.text


async def test_other_routes_are_traced_without_a_model(traces: Traces) -> None:
    async with client_of() as (client, _):
        await client.get("models")
    assert names(traces) == ["GET", "GET other"]


def test_who_traces_nothing_loads_nothing() -> None:
    code = (
        "import sys; from app.main import create_app; from app.settings import FixedSettings; "
        "create_app(FixedSettings(upstream_url='simulated://', verifier='off')); "
        "ours = ('opentelemetry.sdk', 'opentelemetry.exporter', 'app.tracing.otel'); "
        "print([name for name in sys.modules if name.startswith(ours)])"
    )
    root = Path(__file__).parent.parent.parent
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert ran.stdout == "[]\n"


def test_without_the_libraries_the_start_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "app.tracing.otel", None)
    with pytest.raises(ConfigurationError, match=r"install reprise-proxy\[otel\]"):
        port.open_telemetry(with_content=False)
