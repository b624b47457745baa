"""Creates the adapters that the settings name, one for each port."""

import time
from dataclasses import dataclass, field
from pathlib import Path

from app.configuration import check_verifier
from app.core.accounts import Accounts, NoPrices
from app.core.calibration import Calibration
from app.core.errors import ConfigurationError
from app.core.key_file import KeyFile
from app.core.memory_limit import memory_limit
from app.core.metrics import Metrics
from app.core.models import Clock, EmbeddingModel, Usage
from app.core.ports import Embedder, Leases, Prices, Upstream, Verifier, WholeStore
from app.inference.calibration_file import calibration_for
from app.inference.local_embedder import LocalEmbedder
from app.inference.remote_embedder import RemoteEmbedder
from app.inference.remote_verifier import RemoteVerifier
from app.inference.verifier import load_verifier
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
from app.upstream.prices import ListPrices, read_prices
from app.upstream.providers import UpstreamByProvider
from app.upstream.simulator import SimulatedUpstream

_USUAL_BYTES = 1_073_741_824  # the default limit of a store in this process
_SHARE = 4  # on a small machine, a store may use one part in this many of the memory


@dataclass(frozen=True, slots=True)
class Adapters:
    """One adapter for each port."""

    store: WholeStore
    embedder: Embedder
    upstream: Upstream
    metrics: Metrics
    clock: Clock
    verifier: Verifier | None = None
    leases: Leases | None = None
    prices: Prices = field(default_factory=NoPrices)


def adapters_for(
    settings: Settings,
    *,
    embedder: Embedder | None = None,
    verifier: Verifier | None = None,
    clock: Clock = time.time,
) -> Adapters:
    """Return the adapters that the settings name.

    `embedder` and `verifier`, if given, replace those that the settings name. If the settings turn
    the verifier off, `verifier` is ignored and the result has no verifier.
    """
    metrics = Metrics()
    own = read_prices(settings.prices)
    paid = Accounts(metrics, ListPrices(settings.embedder_url, own))
    embedder = embedder or embedder_for(settings, clock, paid)
    upstream = _upstream(settings, clock)
    store = _store(settings, embedder, metrics, clock)
    if settings.verifier == "off":
        verifier = None
    elif verifier is None:
        verifier = verifier_for(settings, embedder.name)
    leases = _leases(settings, embedder)
    prices = ListPrices(settings.upstream_url, own)
    return Adapters(store, embedder, upstream, metrics, clock, verifier, leases, prices)


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
                store_bytes(settings),
            )
        case ("valkey" | "valkeys" | "valkey+cluster" | "valkeys+cluster" | "unix", _, _):
            return _valkey_store(settings, embedder, clock, seal)
        case _:
            return MemoryStore(
                settings.max_entries, clock, count_eviction, max_bytes=store_bytes(settings)
            )


def store_bytes(settings: Settings) -> int:
    """Return how many bytes of memory a store in this process may use."""
    return settings.max_bytes or min(_USUAL_BYTES, memory_limit() // _SHARE)


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


def embedder_for(
    settings: Settings, clock: Clock = time.time, paid: Accounts | None = None
) -> Embedder:
    """Return the embedder that the settings name.

    If `paid` is given, the cost of each call to a remote embedder is added to `paid`.
    """
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
    model = settings.embedding_model

    def count(tokens: int) -> None:
        if paid is not None:
            paid.spent("embedding", model, Usage(tokens) if tokens else None)

    simulated = settings.embedder == "upstream" and settings.is_simulated
    return RemoteEmbedder(
        SimulatedUpstream(settings.simulated_delay) if simulated else HttpUpstream(target),
        model,
        settings.embedding_dimensions,
        as_caller=settings.embeds_as_caller,
        on_tokens=count,
    )


def verifier_for(
    settings: Settings, embedder: str, calibration: Calibration | None = None
) -> Verifier:
    """Return the verifier that the settings name.

    `embedder` is the name of the model that finds candidates. `calibration`, if given, replaces the
    one in the settings. Raises ConfigurationError if the calibration or the model is missing or
    invalid.
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
