"""Builds the proxy from adapters, engine and routes."""

import secrets
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path

from fastapi import FastAPI
from fastapi.middleware import Middleware
from starlette.routing import Route

from app import __version__
from app.adapters import Adapters, adapters_for
from app.api.admin.explain import explain_route
from app.api.admin.routes import Operation, admin_routes, operations_of
from app.api.admin.transfer import Transfer
from app.api.cached import CachedRoute
from app.api.dashboard.headers import DashboardHeadersMiddleware
from app.api.dashboard.routes import dashboard_routes
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
from app.configuration import load_rules
from app.core.inflight import Inflight
from app.core.key_file import KeyFile
from app.core.models import Clock
from app.core.ports import Verifier
from app.dialects.dialect import Dialect
from app.dialects.responses.deletion import deleted_response
from app.engine.assembly import Dependencies, Engine
from app.engine.audits import AuditTerms
from app.engine.deletions import Deletions
from app.engine.fleet import Fleet
from app.engine.matcher import Guards, Matcher, VerifierThreshold
from app.engine.resilience import ResilientEmbedder, ResilientVerifier
from app.engine.resilient_store import ResilientEmbeddingStore, ResilientStore
from app.inference.local_embedder import LocalEmbedder
from app.rules.headers import ORIGIN
from app.rules.key import Isolation, KeyRules
from app.rules.limits import Limits
from app.rules.plan import Policy
from app.rules.providers import is_anthropics
from app.rules.routing import Rule
from app.rules.sharing import digest_of_key
from app.settings import Settings
from app.tracing.port import NoTracing, Tracing, open_telemetry


def _api_key_file(settings: Settings, clock: Clock) -> KeyFile | None:
    path = settings.api_keys_file
    return KeyFile(Path(path), "REPRISE_API_KEYS_FILE", clock) if path else None


def create_app(settings: Settings, adapters: Adapters | None = None) -> FastAPI:
    """Return the proxy as a FastAPI application.

    `adapters`, if given, are used instead of those that the settings name.
    """
    tracing = _tracing(settings)
    parts = _traced(adapters or adapters_for(settings), tracing)
    policy = policy_for(settings, parts.verifier)
    inflight = Inflight(settings.max_inflight_bytes)
    parts.metrics.follow_inflight(lambda: inflight.held)
    dependencies = _dependencies(settings, parts, policy, tracing.guards())
    engine = Engine(replace(dependencies, inflight=inflight), policy)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with aclosing(tracing), aclosing(engine):
            app.state.ready = True
            yield
            app.state.ready = False

    app = FastAPI(
        title="Reprise",
        version=__version__,
        openapi_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        middleware=[
            Middleware(tracing.app),
            *_middleware(settings, parts, policy.keys, inflight),
        ],
    )
    app.state.ready = False
    dialects = dialects_for(settings)
    app.router.routes += _cached_routes(engine, dialects, settings.max_body_bytes, inflight)
    app.include_router(ops_routes(engine.lookup, parts.metrics))
    calibration = parts.verifier.calibration if parts.verifier else None
    operations = [
        *operations_of(engine, parts.metrics, parts.clock, calibration, settings.workers),
        *_dialects_operations(engine, parts.clock, dialects, settings),
    ]
    token = settings.admin_token.get_secret_value()
    app.include_router(admin_routes(operations, token))
    for router in dashboard_routes(operations, token, parts.clock):
        app.include_router(router)
    deletions = Deletions(engine.forwarder, engine.operations, deleted_response)
    other = PassthroughRoutes(
        deletions,
        Passthrough.of(settings.passthrough, is_own=settings.keeps_credentials),
        Passthrough.of(settings.passthrough, is_own=settings.keeps_anthropic_credentials),
        inflight,
    )
    app.router.routes.append(OtherRoutes(other))
    return app


def _dialects_operations(
    engine: Engine, clock: Clock, dialects: Mapping[str, Dialect], settings: Settings
) -> Iterator[Operation]:
    """Yield the operators' endpoints that use the dialects: explain, export and import."""
    token = settings.admin_token.get_secret_value()
    yield Operation("POST", "/explain", explain_route(engine.explainer, dialects, token))
    transfer = Transfer(engine.operations, clock, {d.name: d for d in dialects.values()})
    yield Operation("GET", "/export", transfer.export)
    yield Operation("POST", "/import", transfer.import_)


def _middleware(
    settings: Settings, parts: Adapters, keys: KeyRules, inflight: Inflight
) -> Iterator[Middleware]:
    """Yield the middleware, outermost first."""
    yield Middleware(DashboardHeadersMiddleware)
    if settings.cors_origins:
        yield Middleware(CorsMiddleware, origins=settings.cors_origins)
    yield Middleware(ExchangeMiddleware, metrics=parts.metrics)
    yield Middleware(
        GateMiddleware,
        keys=[key.get_secret_value() for key in settings.api_keys],
        guard_origin=settings.guards_origin,
        origins=settings.cors_origins,
        key_file=_api_key_file(settings, parts.clock),
    )
    yield Middleware(CrowdMiddleware, most=settings.max_concurrent, inflight=inflight)
    if settings.lets_strangers_in:
        yield Middleware(StrangersMiddleware, rules=keys)


def _tracing(settings: Settings) -> Tracing:
    if settings.traces == "off":
        return NoTracing()
    return open_telemetry(with_content=settings.trace_content)


def _traced(parts: Adapters, tracing: Tracing) -> Adapters:
    return replace(
        parts,
        store=tracing.store(parts.store),
        embedder=tracing.embedder(parts.embedder),
        verifier=tracing.verifier(parts.verifier) if parts.verifier else None,
        upstream=tracing.upstream(parts.upstream),
    )


def dialects_for(settings: Settings) -> Mapping[str, Dialect]:
    """Return the dialect of each cached path.

    If the upstream is also the embedder, it may receive texts with the callers' credentials. But it
    must not receive credentials that are meant for another server. So if requests of Anthropic's
    API go to another server, these requests are not embedded; they are matched only exactly.
    """
    return dialects_of(
        responses_by_meaning=settings.responses_by_meaning,
        messages_exact_only=settings.embeds_as_caller and settings.is_anthropic_elsewhere,
    )


def _cached_routes(
    engine: Engine, dialects: Mapping[str, Dialect], max_bytes: int, inflight: Inflight
) -> Iterator[Route]:
    for path, dialect in dialects.items():
        for pattern, names_model in forms_of(path):
            spoken = DEPLOYED.get(path) if names_model else dialect
            if spoken is not None:
                endpoint = CachedRoute(
                    engine.handler, spoken, engine.forwarder, max_bytes, inflight
                )
                yield Route(pattern, endpoint, methods=["POST"])


def _dependencies(
    settings: Settings, parts: Adapters, policy: Policy, judging: Guards
) -> Dependencies:
    metrics = parts.metrics
    guards = judging if settings.guards == "on" else None
    threshold = explained = None
    if parts.verifier is not None:
        verifier = ResilientVerifier(parts.verifier, settings.verifier_timeout, metrics)
        calibration = parts.verifier.calibration
        least = calibration.threshold(settings.max_error_rate)
        threshold = explained = VerifierThreshold(verifier, least)
        # With another embedder, the verifier may measure distances anew, so the distances found by
        # the store give no bound on the probability.
        if parts.embedder.name == LocalEmbedder.name:
            threshold = VerifierThreshold(verifier, least, calibration.highest)
    as_caller = settings.embeds_as_caller
    is_ours_to_ask = not settings.keeps_anthropic_credentials
    return Dependencies(
        store=ResilientStore(parts.store, metrics, candidates=policy.candidates),
        embeddings=ResilientEmbeddingStore(parts.store, metrics),
        embedder=ResilientEmbedder(parts.embedder, metrics, as_caller=as_caller),
        matcher=Matcher(metrics, guards, threshold),
        inspector=Matcher(None, guards, explained),
        upstream=parts.upstream,
        fleet=Fleet(parts.leases, settings.fleet_collapse_wait, metrics),
        metrics=metrics,
        clock=parts.clock,
        mark="" if settings.is_shared else secrets.token_hex(4),
        prices=parts.prices,
        audit=AuditTerms(
            rate=settings.audit_rate,
            dial=settings.max_error_rate,
            least=explained.least if explained else None,
            may_ask=lambda request: is_ours_to_ask or not is_anthropics(request),
        ),
    )


def max_distance_for(settings: Settings, verifier: Verifier | None) -> float:
    """Return the greatest cosine distance of a hit by meaning."""
    if settings.max_distance is not None:
        return settings.max_distance
    return verifier.calibration.max_distance if verifier else Limits().max_distance


def policy_for(settings: Settings, verifier: Verifier | None) -> Policy:
    """Return the policy from the settings. Raises ConfigurationError if a rule is invalid."""
    all_share = settings.isolation is Isolation.SHARED
    return Policy(
        keys=KeyRules(
            upstream=settings.upstream_url,
            anthropic=settings.anthropic_upstream,
            isolation=settings.isolation,
            secret=settings.store_secret.get_secret_value().encode(),
            # If Reprise itself decides which pages may read answers, `Origin` changes no answer.
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
        rules=[_calibrated(rule, verifier) for rule in load_rules(settings)],
    )


def _calibrated(rule: Rule, verifier: Verifier | None) -> Rule:
    """Return `rule` with the least probability that the verifier must give at the rule's dial.

    The probability comes from the verifier's calibration. If there is no verifier, or if the rule
    has no dial, `rule` is returned unchanged.
    """
    if verifier is None or rule.max_error_rate is None:
        return rule
    return replace(rule, min_probability=verifier.calibration.threshold(rule.max_error_rate))


def _names(headers: Iterable[str]) -> frozenset[bytes]:
    return frozenset(name.lower().encode() for name in headers)
