"""The composition root: the only place that names concrete adapters."""

import secrets
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI
from fastapi.middleware import Middleware
from starlette.routing import Route

from app import __version__
from app.api.admin import admin_routes
from app.api.cached import CachedRoute
from app.api.explaining import explain_route
from app.api.ops import ops_routes
from app.api.passthrough import OtherRoutes, Passthrough, PassthroughRoutes
from app.cache import SemanticCache
from app.curator import Curator
from app.embedders.local import LocalEmbedder
from app.embedders.remote import RemoteEmbedder
from app.embeddings import EmbeddingsProxy
from app.errors import ConfigurationError
from app.explaining import Explainer
from app.fleet import Fleet
from app.forwarding import Forwarder
from app.interfaces import Embedder, Leases, Upstream, Verifier, WholeStore
from app.judge import Bar, Guards, Judge
from app.key import KeyRules
from app.metrics import Metrics
from app.middleware import (
    CHAT_COMPLETIONS,
    EMBEDDINGS,
    ExchangeMiddleware,
    GateMiddleware,
    StrangersMiddleware,
)
from app.models import Clock, EmbeddingModel, Kind
from app.parts import EmbedderPart, VerifierPart
from app.policy import Limits
from app.proxy import Proxy
from app.rules import Rules
from app.settings import Settings
from app.simulator import SimulatedUpstream
from app.store_parts import EmbeddingStorePart, StorePart
from app.stores.memory import MemoryStore
from app.stores.sqlite import SqliteStore
from app.stores.valkey import ValkeyStore
from app.stores.valkey_cluster import servers_at
from app.stores.valkey_keys import Keys
from app.stores.valkey_lease import ValkeyLeases
from app.stores.valkey_search import IndexOptions
from app.stores.valkey_url import address_of
from app.upstream import HttpUpstream, Target
from app.verifier import load_verifier


@dataclass(frozen=True, slots=True)
class Adapters:
    """What the ports are plugged into."""

    store: WholeStore
    embedder: Embedder
    upstream: Upstream
    metrics: Metrics
    clock: Clock
    verifier: Verifier | None = None
    leases: Leases | None = None


def adapters_for(
    settings: Settings,
    *,
    embedder: Embedder | None = None,
    verifier: Verifier | None = None,
    clock: Clock = time.time,
) -> Adapters:
    """Make the adapters that the settings name; what is given takes its place."""
    metrics = Metrics()
    embedder = embedder or _embedder(settings)
    upstream = _upstream(settings)
    store = _store(settings, embedder, metrics, clock)
    if settings.verifier == "off":
        verifier = None
    elif verifier is None:
        model = Path(settings.verifier_model) if settings.verifier_model else None
        verifier = load_verifier(embedder.name, model)
    leases = _leases(settings, embedder)
    return Adapters(store, embedder, upstream, metrics, clock, verifier, leases)


def _store(settings: Settings, embedder: Embedder, metrics: Metrics, clock: Clock) -> WholeStore:
    def count_eviction(kind: Kind, reason: str) -> None:
        metrics.evictions.labels(kind.value, reason).inc()

    match settings.store.partition("://"):
        case ("sqlite", _, path):
            return SqliteStore(
                Path(path.removeprefix("/")),
                EmbeddingModel(embedder.name, embedder.dimensions),
                settings.max_entries,
                clock,
                count_eviction,
            )
        case ("valkey" | "valkeys" | "valkey+cluster" | "valkeys+cluster" | "unix", _, _):
            return _valkey_store(settings, embedder, clock)
        case _:
            return MemoryStore(settings.max_entries, clock, count_eviction)


def _valkey_store(settings: Settings, embedder: Embedder, clock: Clock) -> ValkeyStore:
    options = IndexOptions(
        algorithm=settings.index_algorithm,
        ef_runtime=settings.index_ef_runtime,
        max_inserts=settings.index_max_inserts,
    )
    model = EmbeddingModel(embedder.name, embedder.dimensions)
    try:
        return ValkeyStore(
            address_of(settings.store), model, options, settings.store_timeout, clock
        )
    except OSError as error:
        raise ConfigurationError(
            f"REPRISE_STORE={settings.shown_store} names a file that cannot be read: "
            f"{error.strerror}"
        ) from error


def _leases(settings: Settings, embedder: Embedder) -> Leases | None:
    if not settings.is_shared or not settings.fleet_collapse_wait:
        return None
    _, server = servers_at(address_of(settings.store), settings.store_timeout)
    return ValkeyLeases(server, Keys.of(embedder.name, embedder.dimensions))


def _upstream(settings: Settings) -> Upstream:
    if settings.is_simulated:
        return SimulatedUpstream(settings.simulated_delay)
    return HttpUpstream(
        Target(
            url=settings.upstream_url,
            api_key=settings.upstream_api_key.get_secret_value(),
            keep_credentials=settings.keeps_credentials,
            connect_timeout=settings.upstream_connect_timeout,
            read_timeout=settings.upstream_timeout,
        )
    )


def _embedder(settings: Settings) -> Embedder:
    if settings.embedder == "local":
        return LocalEmbedder()
    key = settings.upstream_api_key if settings.embeds_upstream else settings.embedder_api_key
    target = Target(
        url=settings.embedder_url,
        api_key=key.get_secret_value(),
        keep_credentials=settings.embeds_as_caller,
        connect_timeout=settings.embedder_timeout,
        read_timeout=settings.embedder_timeout,
        setting="REPRISE_EMBEDDER",
    )
    simulated = settings.embedder == "upstream" and settings.is_simulated
    return RemoteEmbedder(
        SimulatedUpstream(settings.simulated_delay) if simulated else HttpUpstream(target),
        settings.embedding_model,
        settings.embedding_dimensions,
        as_caller=settings.embeds_as_caller,
    )


def create_app(settings: Settings, adapters: Adapters | None = None) -> FastAPI:
    """Put the proxy together."""
    parts = adapters or adapters_for(settings)
    rules = _rules(settings, parts.verifier)
    fleet = Fleet(parts.leases, settings.fleet_collapse_wait, parts.metrics)
    forwarder = Forwarder(parts.upstream, parts.metrics, fleet)
    store = StorePart(parts.store, parts.metrics, neighbors=rules.limits.neighbors)
    as_caller = settings.embeds_as_caller
    embedder = EmbedderPart(parts.embedder, parts.metrics, as_caller=as_caller)
    judge = _judge(settings, parts)
    cache = SemanticCache(store, embedder, judge, rules.limits, parts.clock)
    mark = "" if settings.is_shared else secrets.token_hex(4)
    curator = Curator(store, embedder, rules.limits, mark)
    proxy = Proxy(cache, forwarder, rules, parts.metrics, parts.clock)
    vectors = EmbeddingStorePart(parts.store, parts.metrics)
    embeddings = EmbeddingsProxy(vectors, forwarder, rules, parts.metrics, parts.clock)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with (
            aclosing(parts.upstream),
            aclosing(cache),
            aclosing(vectors),
            aclosing(fleet),
            aclosing(proxy),
            aclosing(embeddings),
        ):
            app.state.ready = True
            yield
            app.state.ready = False

    keys = [key.get_secret_value() for key in settings.api_keys]
    strangers = [Middleware(StrangersMiddleware, rules=rules.keys)]
    app = FastAPI(
        title="Reprise",
        version=__version__,
        openapi_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        middleware=[
            Middleware(ExchangeMiddleware, metrics=parts.metrics),
            Middleware(GateMiddleware, keys=keys, guard_origin=settings.guards_origin),
            *(strangers if settings.lets_strangers_in else []),
        ],
    )
    app.state.ready = False
    for path, handler in ((CHAT_COMPLETIONS, proxy), (EMBEDDINGS, embeddings)):
        endpoint = CachedRoute(handler, forwarder, settings.max_body_bytes)
        app.router.routes.append(Route(path, endpoint, methods=["POST"]))
    app.include_router(ops_routes(cache, parts.metrics))
    token = settings.admin_token.get_secret_value()
    admin = admin_routes(cache, curator, parts.metrics, parts.clock, token)
    explainer = Explainer(proxy, curator, judge, rules.limits, parts.clock)
    admin.add_api_route("/explain", explain_route(explainer, token), methods=["POST"])
    app.include_router(admin)
    app.router.routes.append(OtherRoutes(PassthroughRoutes(forwarder, _passthrough(settings))))
    return app


def _judge(settings: Settings, parts: Adapters) -> Judge:
    guards = Guards(parts.metrics) if settings.guards == "on" else None
    if parts.verifier is None:
        return Judge(guards)
    part = VerifierPart(parts.verifier, settings.verifier_timeout, parts.metrics)
    least = parts.verifier.calibration.threshold(settings.max_error_rate)
    return Judge(guards, Bar(part, least, parts.metrics))


def _max_distance(settings: Settings, verifier: Verifier | None) -> float:
    if settings.max_distance is not None:
        return settings.max_distance
    return verifier.calibration.max_distance if verifier else Limits().max_distance


def _rules(settings: Settings, verifier: Verifier | None) -> Rules:
    return Rules(
        keys=KeyRules(
            upstream=settings.upstream_url,
            isolation=settings.isolation,
            secret=settings.store_secret.get_secret_value().encode(),
            ignored_headers=_names(settings.ignored_headers),
            key_headers=_names(settings.key_headers),
        ),
        limits=Limits(
            max_distance=_max_distance(settings, verifier),
            max_temperature=settings.max_temperature,
            max_bytes=settings.max_body_bytes,
            ttl=settings.ttl,
            min_ttl=settings.min_ttl,
            max_ttl=settings.max_ttl,
            volatile_ttl=settings.volatile_ttl,
            stale_while_revalidate=settings.stale_while_revalidate,
            stale_if_error=settings.stale_if_error,
            store_timeout=settings.store_timeout,
            embedder_timeout=settings.embedder_timeout,
            finish_abandoned=settings.finish_abandoned,
        ),
    )


def _names(headers: Iterable[str]) -> frozenset[bytes]:
    return frozenset(name.lower().encode() for name in headers)


def _passthrough(settings: Settings) -> Passthrough:
    if settings.passthrough == "auto":
        return Passthrough.ON if settings.keeps_credentials else Passthrough.MODELS
    return Passthrough(settings.passthrough)
