"""The composition root: the only place that names concrete adapters."""

import secrets
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI
from fastapi.middleware import Middleware
from starlette.routing import Route

from app import __version__
from app.api.admin.explain import explain_route
from app.api.admin.routes import admin_routes
from app.api.admin.transfer import Transfer
from app.api.cached import CachedRoute
from app.api.dialects import DEPLOYED, dialects_of
from app.api.middleware import (
    CorsMiddleware,
    CrowdMiddleware,
    ExchangeMiddleware,
    GateMiddleware,
    StrangersMiddleware,
)
from app.api.ops import ops_routes
from app.api.passthrough import OtherRoutes, Passthrough, PassthroughRoutes
from app.api.paths import forms_of
from app.configuration import check_verifier
from app.core.calibration import Calibration
from app.core.errors import ConfigurationError
from app.core.key_file import KeyFile
from app.core.metrics import Metrics
from app.core.models import Clock, EmbeddingModel
from app.core.ports import Embedder, Leases, Upstream, Verifier, WholeStore
from app.dialects.dialect import Dialect
from app.dialects.responses.deletion import deleted_response
from app.engine.assembly import Dependencies, Engine
from app.engine.deletions import Deletions
from app.engine.fleet import Fleet
from app.engine.matcher import Guards, Matcher, VerifierThreshold
from app.engine.resilience import ResilientEmbedder, ResilientVerifier
from app.engine.resilient_store import ResilientEmbeddingStore, ResilientStore
from app.inference.calibration_file import calibration_for
from app.inference.local_embedder import LocalEmbedder
from app.inference.remote_embedder import RemoteEmbedder
from app.inference.remote_verifier import RemoteVerifier
from app.inference.verifier import load_verifier
from app.rules.decisions import Policy
from app.rules.headers import ORIGIN
from app.rules.key import Isolation, KeyRules
from app.rules.limits import Limits
from app.rules.sharing import digest_of_key
from app.settings import Settings
from app.stores.memory.store import MemoryStore
from app.stores.seal import Seal
from app.stores.sqlite.store import SqliteStore
from app.stores.valkey.cluster.client import servers_at
from app.stores.valkey.keys import Keys
from app.stores.valkey.lease import ValkeyLeases
from app.stores.valkey.search import IndexOptions
from app.stores.valkey.store import ValkeyStore
from app.stores.valkey.url import address_of
from app.upstream.http import HttpUpstream, Target
from app.upstream.providers import UpstreamByProvider
from app.upstream.simulator import SimulatedUpstream


@dataclass(frozen=True, slots=True)
class Adapters:
    """The adapter for each port."""

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
    """Make the adapters that the settings name; those that are given take their place."""
    metrics = Metrics()
    embedder = embedder or embedder_for(settings, clock)
    upstream = _upstream(settings, clock)
    store = _store(settings, embedder, metrics, clock)
    if settings.verifier == "off":
        verifier = None
    elif verifier is None:
        verifier = verifier_for(settings, embedder.name)
    leases = _leases(settings, embedder)
    return Adapters(store, embedder, upstream, metrics, clock, verifier, leases)


def _store(settings: Settings, embedder: Embedder, metrics: Metrics, clock: Clock) -> WholeStore:
    def count_eviction(kind: str, reason: str) -> None:
        metrics.evictions.labels(kind, reason).inc()

    seal = Seal(
        settings.store_secret.get_secret_value().encode(), embedder.name, metrics.broken.inc
    )
    match settings.store.partition("://"):
        case ("sqlite", _, path):
            return SqliteStore(
                Path(path.removeprefix("/")),
                EmbeddingModel(embedder.name, embedder.dimensions),
                settings.max_entries,
                clock,
                count_eviction,
                seal,
            )
        case ("valkey" | "valkeys" | "valkey+cluster" | "valkeys+cluster" | "unix", _, _):
            return _valkey_store(settings, embedder, clock, seal)
        case _:
            return MemoryStore(settings.max_entries, clock, count_eviction)


def _valkey_store(settings: Settings, embedder: Embedder, clock: Clock, seal: Seal) -> ValkeyStore:
    options = IndexOptions(
        algorithm=settings.index_algorithm,
        ef_runtime=settings.index_ef_runtime,
        max_inserts=settings.index_max_inserts,
    )
    model = EmbeddingModel(embedder.name, embedder.dimensions)
    try:
        return ValkeyStore(
            address_of(settings.store), model, options, settings.store_timeout, clock, seal
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


def _upstream(settings: Settings, clock: Clock) -> Upstream:
    upstream = _openais_upstream(settings, clock)
    if not settings.anthropic_upstream:
        return upstream
    return UpstreamByProvider(
        upstream,
        HttpUpstream(
            Target(
                url=settings.anthropic_upstream,
                api_key=settings.anthropic_api_key.get_secret_value(),
                keep_credentials=settings.keeps_anthropic_credentials,
                connect_timeout=settings.upstream_connect_timeout,
                read_timeout=settings.upstream_timeout,
                setting="REPRISE_ANTHROPIC_URL",
                is_anthropic=True,
            )
        ),
    )


def _openais_upstream(settings: Settings, clock: Clock) -> Upstream:
    if settings.is_simulated:
        return SimulatedUpstream(settings.simulated_delay)
    return HttpUpstream(
        Target(
            url=settings.upstream_url,
            api_key=settings.upstream_api_key.get_secret_value(),
            keep_credentials=settings.keeps_credentials,
            connect_timeout=settings.upstream_connect_timeout,
            read_timeout=settings.upstream_timeout,
            key_file=_upstream_key_file(settings, clock),
        )
    )


def _upstream_key_file(settings: Settings, clock: Clock) -> KeyFile | None:
    path, name = settings.upstream_api_key_file, "REPRISE_UPSTREAM_API_KEY_FILE"
    return KeyFile(Path(path), name, clock, most=1) if path else None


def _api_key_file(settings: Settings, clock: Clock) -> KeyFile | None:
    path = settings.api_keys_file
    return KeyFile(Path(path), "REPRISE_API_KEYS_FILE", clock) if path else None


def embedder_for(settings: Settings, clock: Clock = time.time) -> Embedder:
    """Make the embedder that the settings name."""
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
        key_file=_upstream_key_file(settings, clock) if settings.embeds_upstream else None,
    )
    simulated = settings.embedder == "upstream" and settings.is_simulated
    return RemoteEmbedder(
        SimulatedUpstream(settings.simulated_delay) if simulated else HttpUpstream(target),
        settings.embedding_model,
        settings.embedding_dimensions,
        as_caller=settings.embeds_as_caller,
    )


def verifier_for(
    settings: Settings, embedder: str, calibration: Calibration | None = None
) -> Verifier:
    """Make the verifier that the settings name, for an embedder that finds the candidates.

    A calibration that is given takes the place of theirs. Raises ConfigurationError.
    """
    model = settings.verifier_model
    if calibration is None:
        check_verifier(settings)
        if file := settings.verifier_calibration:
            named = model if settings.verifier_url else ""
            calibration = calibration_for(Path(file), embedder, named)
    if not settings.verifier_url or calibration is None:
        return load_verifier(embedder, Path(model) if model else None, calibration)
    target = Target(
        url=settings.verifier_url,
        api_key=settings.verifier_api_key.get_secret_value(),
        keep_credentials=False,
        connect_timeout=settings.verifier_timeout,
        read_timeout=settings.verifier_timeout,
        setting="REPRISE_VERIFIER_URL",
    )
    return RemoteVerifier(HttpUpstream(target), calibration, model)


def create_app(settings: Settings, adapters: Adapters | None = None) -> FastAPI:
    """Put the proxy together."""
    parts = adapters or adapters_for(settings)
    policy = _policy(settings, parts.verifier)
    engine = Engine(_dependencies(settings, parts, policy), policy)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with aclosing(engine):
            app.state.ready = True
            yield
            app.state.ready = False

    keys = [key.get_secret_value() for key in settings.api_keys]
    cors = [Middleware(CorsMiddleware, origins=settings.cors_origins)]
    crowd = [Middleware(CrowdMiddleware, most=settings.max_concurrent)]
    strangers = [Middleware(StrangersMiddleware, rules=policy.keys)]
    app = FastAPI(
        title="Reprise",
        version=__version__,
        openapi_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        middleware=[
            *(cors if settings.cors_origins else []),
            Middleware(ExchangeMiddleware, metrics=parts.metrics),
            Middleware(
                GateMiddleware,
                keys=keys,
                guard_origin=settings.guards_origin,
                origins=settings.cors_origins,
                key_file=_api_key_file(settings, parts.clock),
            ),
            *(crowd if settings.max_concurrent else []),
            *(strangers if settings.lets_strangers_in else []),
        ],
    )
    app.state.ready = False
    dialects = _dialects(settings)
    app.router.routes += _cached_routes(engine, dialects, settings.max_body_bytes)
    app.include_router(ops_routes(engine.lookup, parts.metrics))
    token = settings.admin_token.get_secret_value()
    admin = admin_routes(engine.lookup, engine.operations, parts.metrics, parts.clock, token)
    explain = explain_route(engine.explainer, dialects, token)
    admin.add_api_route("/explain", explain, methods=["POST"])
    transfer = Transfer(engine.operations, parts.clock, {d.name: d for d in dialects.values()})
    admin.add_api_route("/export", transfer.export, methods=["GET"])
    admin.add_api_route("/import", transfer.import_, methods=["POST"])
    app.include_router(admin)
    deletions = Deletions(engine.forwarder, engine.operations, deleted_response)
    other = PassthroughRoutes(
        deletions,
        Passthrough.of(settings.passthrough, is_own=settings.keeps_credentials),
        Passthrough.of(settings.passthrough, is_own=settings.keeps_anthropic_credentials),
    )
    app.router.routes.append(OtherRoutes(other))
    return app


def _dialects(settings: Settings) -> Mapping[str, Dialect]:
    """Return what is cached, by path.

    An embedder that is sent the caller's credential for the upstream must not be sent one for
    another server: messages that go elsewhere are then matched exactly, and not embedded.
    """
    return dialects_of(
        responses_by_meaning=settings.responses_by_meaning,
        messages_exact_only=settings.embeds_as_caller and settings.is_anthropic_elsewhere,
    )


def _cached_routes(
    engine: Engine, dialects: Mapping[str, Dialect], max_bytes: int
) -> Iterator[Route]:
    for path, dialect in dialects.items():
        for pattern, names_model in forms_of(path):
            spoken = DEPLOYED.get(path) if names_model else dialect
            if spoken is not None:
                endpoint = CachedRoute(engine.handler, spoken, engine.forwarder, max_bytes)
                yield Route(pattern, endpoint, methods=["POST"])


def _dependencies(settings: Settings, parts: Adapters, policy: Policy) -> Dependencies:
    metrics = parts.metrics
    guards = Guards() if settings.guards == "on" else None
    threshold = explained = None
    if parts.verifier is not None:
        verifier = ResilientVerifier(parts.verifier, settings.verifier_timeout, metrics)
        calibration = parts.verifier.calibration
        least = calibration.threshold(settings.max_error_rate)
        threshold = explained = VerifierThreshold(verifier, least)
        # The distances that other embedders find may be measured anew by the verifier.
        if parts.embedder.name == LocalEmbedder.name:
            threshold = VerifierThreshold(verifier, least, calibration.highest)
    as_caller = settings.embeds_as_caller
    return Dependencies(
        store=ResilientStore(parts.store, metrics, candidates=policy.limits.candidates),
        embeddings=ResilientEmbeddingStore(parts.store, metrics),
        embedder=ResilientEmbedder(parts.embedder, metrics, as_caller=as_caller),
        matcher=Matcher(metrics, guards, threshold),
        inspector=Matcher(Metrics(), guards, explained),
        upstream=parts.upstream,
        fleet=Fleet(parts.leases, settings.fleet_collapse_wait, metrics),
        metrics=metrics,
        clock=parts.clock,
        mark="" if settings.is_shared else secrets.token_hex(4),
    )


def max_distance_for(settings: Settings, verifier: Verifier | None) -> float:
    """Return how far away a neighbour may be."""
    if settings.max_distance is not None:
        return settings.max_distance
    return verifier.calibration.max_distance if verifier else Limits().max_distance


def _policy(settings: Settings, verifier: Verifier | None) -> Policy:
    all_share = settings.isolation is Isolation.SHARED
    return Policy(
        keys=KeyRules(
            upstream=settings.upstream_url,
            anthropic=settings.anthropic_upstream,
            isolation=settings.isolation,
            secret=settings.store_secret.get_secret_value().encode(),
            # Where it is we who say which pages may read an answer, it is the same for all.
            ignored_headers=_names(settings.ignored_headers)
            | ({ORIGIN} if settings.cors_origins else set()),
            key_headers=_names(settings.key_headers),
            ignored_cookies=frozenset(map(str.encode, settings.ignored_cookies)),
            key_cookies=frozenset(map(str.encode, settings.key_cookies)),
            api_keys=frozenset(
                digest_of_key(key.get_secret_value().encode()) for key in settings.api_keys
            ),
        ),
        limits=Limits(
            max_distance=max_distance_for(settings, verifier),
            max_temperature=settings.max_temperature,
            max_bytes=settings.max_body_bytes,
            ttl=settings.ttl,
            min_ttl=settings.min_ttl,
            max_ttl=min(settings.max_ttl, settings.ttl) if all_share else settings.max_ttl,
            volatile_ttl=settings.volatile_ttl,
            stale_while_revalidate=settings.stale_while_revalidate,
            stale_if_error=settings.stale_if_error,
            store_timeout=settings.store_timeout,
            embedder_timeout=settings.embedder_timeout,
            finish_abandoned=settings.finish_abandoned,
            share_after=settings.share_after,
        ),
        mode=settings.mode,
    )


def _names(headers: Iterable[str]) -> frozenset[bytes]:
    return frozenset(name.lower().encode() for name in headers)
