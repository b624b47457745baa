"""The environment variables with the prefix `REPRISE_`, also read from the file `.env`."""

import re
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    SettingsConfigDict,
)

from app.rules import setting_values as values
from app.rules.key import Isolation
from app.rules.modes import Mode
from app.stores.valkey.url import address_of

PREFIX = "REPRISE_"

RETIRED = MappingProxyType(
    {
        "INDEX_EF_CONSTRUCTION": "indexes are always created with EF_CONSTRUCTION 200",
        "INDEX_M": "indexes are always created with M 16",
        "REPLAY_CHUNK_DELAY_MS": "streams from the store are sent as fast as the client reads",
    }
)
"""Settings of earlier versions, and what applies instead."""

_SQLITE = re.compile(r"sqlite:///[^?#\x00-\x1f\x7f]*[^?#/\x00-\x1f\x7f]")


class LogLevel(StrEnum):
    """The least severe log lines that are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def _store_url(value: object) -> object:
    if value != "memory://" and not _SQLITE.fullmatch(str(value)):
        address_of(str(value))
    return value


def _setting(default: Any, allowed: str, **constraints: Any) -> Any:
    return Field(default, json_schema_extra={"allowed": allowed}, **constraints)


_HeaderNames = Annotated[tuple[str, ...], NoDecode, BeforeValidator(values.header_names)]
_CookieNames = Annotated[tuple[str, ...], NoDecode, BeforeValidator(values.cookie_names)]
_Origins = Annotated[tuple[str, ...], NoDecode, BeforeValidator(values.origins)]
_Key = Annotated[SecretStr, BeforeValidator(values.key)]
_Keys = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(values.keys)]
_UpstreamUrl = Annotated[str, BeforeValidator(values.upstream_url)]
_Embedder = Annotated[str, BeforeValidator(values.embedder)]
_OptionalUrl = Annotated[str, BeforeValidator(values.optional_url)]
_StoreUrl = Annotated[str, BeforeValidator(_store_url)]


class Variables(BaseSettings):
    """All variables of a deployment; `scripts/docs-settings` writes docs/settings.md from them."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True
    )

    host: str = _setting("127.0.0.1", "a host name or address", min_length=1)
    """The address to listen on."""
    port: int = _setting(8000, "a whole number from 0 to 65535", ge=0, le=65_535)
    """The port to listen on. 0 picks a free port."""
    workers: int = _setting(1, "a whole number from 1 to 256", ge=1, le=256)
    """The number of worker processes that serve the port. `/metrics` returns the sum over all of
    them. More than one worker process needs a Valkey as the store."""

    upstream_url: _UpstreamUrl = _setting(
        "https://api.openai.com/v1",
        "an http:// or https:// base URL without query, or simulated://?delay_ms=200",
    )
    """The base URL of an OpenAI-compatible server. With `simulated://?delay_ms=200`, this process
    makes up the answers itself."""
    upstream_api_key: _Key = _setting(SecretStr(""), "a key of visible ASCII characters")
    """The key that Reprise sends to the upstream instead of the client's credential."""
    upstream_api_key_file: str = _setting("", "a readable file with one key")
    """A file that contains the upstream's key, instead of `REPRISE_UPSTREAM_API_KEY`. Reprise reads
    the file again when it changes."""
    anthropic_url: _OptionalUrl = _setting(
        "", "an http:// or https:// base URL without query, with /v1 or without"
    )
    """The server for `/v1/messages` and for other requests with the header `anthropic-version`,
    such as `https://api.anthropic.com`. Reprise adds `/v1` if it is missing. Empty: the upstream.
    """
    anthropic_api_key: _Key = _setting(SecretStr(""), "a key of visible ASCII characters")
    """The key that Reprise sends to Anthropic's server as `x-api-key`, instead of the client's
    credential. Reprise never sends the upstream's key there."""
    api_keys: _Keys = _setting((), "keys of visible ASCII characters, separated by commas")
    """Comma-separated keys. Clients must send one of them. If this is set, Reprise never sends
    clients' credentials to the upstream."""
    api_keys_file: str = _setting("", "a readable file with one key per line")
    """A file that contains the clients' keys, one per line, instead of `REPRISE_API_KEYS`. Reprise
    ignores empty lines and lines that begin with `#`. It reads the file again when it changes."""
    passthrough: Literal["auto", "on", "off"] = _setting("auto", "auto, on or off")
    """Whether Reprise forwards other `/v1/*` routes: `on`, `off` or `auto`. `auto` means `on` if
    Reprise forwards clients' own credentials. Otherwise, it allows only reading `/v1/models` and
    counting the tokens of messages."""
    upstream_connect_timeout: float = _setting(5.0, "a number of seconds greater than 0", gt=0)
    """The longest time to connect to the upstream, in seconds."""
    upstream_timeout: float = _setting(600.0, "a number of seconds greater than 0", gt=0)
    """The longest time without any byte from the upstream, in seconds."""

    store: _StoreUrl = _setting(
        "memory://",
        "memory://, sqlite:///relative.db, sqlite:////absolute.db, valkey://host:6379/0, "
        "valkeys:// (TLS, ?ca=file), unix:///path?db=0, or a cluster: valkey+cluster://host:6379, "
        "valkeys+cluster:// (?reads=replicas)",
        repr=False,  # it may contain a password
    )
    """Where Reprise stores responses. `memory://`: in this process. `sqlite:///relative.db` or
    `sqlite:////absolute.db`: in this process and in a file. `valkey://user:password@host:6379/0`,
    `valkeys://…?ca=file` (TLS) or `unix:///path?db=0`: in a Valkey that many proxies can share.
    `valkey+cluster://…` or `valkeys+cluster://…?ca=file` (`?reads=replicas`): in a cluster. The URL
    of a Valkey may have `password_file=path` instead of a password."""
    store_timeout: float = _setting(0.25, "a number of seconds greater than 0", gt=0)
    """The longest time that the store may take for one request, in seconds."""
    store_secret: SecretStr = _setting(SecretStr(""), "a secret")
    """A secret. If it is set, partitions, ids and seals of entries are HMACs. Reprise then never
    serves entries that other programs wrote to the store."""
    embedder: _Embedder = _setting(
        "local", "local, upstream, or an http:// or https:// base URL without query"
    )
    """The model that computes embeddings: `local` (it ships with Reprise), `upstream` (the
    upstream's `/embeddings`), or the base URL of an OpenAI-compatible server."""
    embedder_api_key: _Key = _setting(SecretStr(""), "a key of visible ASCII characters")
    """The key that Reprise sends to a remote embedder."""
    embedding_model: str = _setting("text-embedding-3-small", "a model's name", min_length=1)
    """The name of a remote embedder's model."""
    embedding_dimensions: int = _setting(1536, "a whole number from 1 to 16384", ge=1, le=16_384)
    """The number of dimensions of a remote embedder's embeddings."""
    embedder_timeout: float = _setting(2.0, "a number of seconds greater than 0", gt=0)
    """The longest time that the embedder may take for one text, in seconds."""
    guards: Literal["on", "off"] = _setting("on", "on or off")
    """`on`: if a rule proves that two near questions differ, one does not get the answer of the
    other."""
    verifier: Literal["on", "off"] = _setting("on", "on or off")
    """`on`: a request gets the answer of a near question only if a model that reads both questions
    agrees."""
    verifier_model: str = _setting(
        "", "a folder made by training/; with VERIFIER_URL, the name of a model on that server"
    )
    """A folder with a model made by `training/`, instead of the one that ships. With
    `REPRISE_VERIFIER_URL`, this is the model's name on that server. If the name is set, Reprise
    calls the server by the API of Cohere and Jina, otherwise by the API of Text Embeddings
    Inference."""
    verifier_url: _OptionalUrl = _setting("", "the http:// or https:// URL of a rerank endpoint")
    """The URL of a rerank endpoint, such as `http://127.0.0.1:8080/rerank`, instead of the model
    that ships. It needs `REPRISE_VERIFIER_CALIBRATION`."""
    verifier_api_key: _Key = _setting(SecretStr(""), "a key of visible ASCII characters")
    """The key that Reprise sends to the rerank endpoint."""
    verifier_calibration: str = _setting("", "a file made by `reprise calibrate`")
    """A file made by `reprise calibrate`. It turns the verifier's scores into probabilities for
    this embedder. Empty: the calibration that ships with the model."""
    verifier_timeout: float = _setting(0.5, "a number of seconds greater than 0", gt=0)
    """The longest time that the verifier may take for one question, in seconds."""

    max_distance: float | None = _setting(None, "a cosine distance from 0 to 2", ge=0, le=2)
    """The greatest cosine distance of a hit by meaning. Unset: the distance up to which the
    verifier was calibrated, or 0.15 without a verifier."""
    max_error_rate: float = _setting(0.01, "a share greater than 0 and less than 1", gt=0, lt=1)
    """The share of hits by meaning that may be wrong, as measured when the verifier was calibrated.
    """
    mode: Mode = _setting(Mode.SERVE, "serve, serve-exact or shadow")
    """Which hits Reprise serves: all (`serve`), exact matches only (`serve-exact`) or none
    (`shadow`). In every mode, Reprise looks up and stores answers. `x-cache-shadow` reports hits
    that it does not serve."""
    policy: str = _setting("", "a readable TOML file of rules")
    """A TOML file with rules by model, namespace or path. Rules set tier, lifetimes and dial. The
    first rule that matches a request applies. Reprise reads the file at the start."""
    prices: str = _setting("", "a TOML file of prices by model, in dollars per million tokens")
    """A TOML file with prices of models. Reprise looks up a model in this file first, then in the
    list that ships; see [savings](savings.md)."""
    audit_rate: float = _setting(0.0, "a share from 0 to 1", ge=0, le=1)
    """The share of hits that Reprise audits. In an audit, it sends the same request to the upstream
    in the background, with `REPRISE_UPSTREAM_API_KEY`, and counts wrong hits. If too many are
    wrong, hits by meaning become stricter. 0: no audits."""
    ttl: float = _setting(3600.0, "a number of seconds from 0 to 2592000", ge=0, le=2_592_000)
    """The freshness lifetime of an answer, in seconds."""
    min_ttl: float = _setting(0.0, "a number of seconds from 0 to 2592000", ge=0, le=2_592_000)
    """The shortest freshness lifetime that `x-cache-ttl` can ask for, in seconds."""
    max_ttl: float = _setting(
        2_592_000.0, "a number of seconds from 0 to 2592000", ge=0, le=2_592_000
    )
    """The longest freshness lifetime that `x-cache-ttl` can ask for, in seconds. With
    `REPRISE_ISOLATION=shared`, it is at most `REPRISE_TTL`."""
    volatile_ttl: float = _setting(
        60.0, "a number of seconds from 0 to 2592000", ge=0, le=2_592_000
    )
    """The longest freshness lifetime of answers to time-bound questions, in seconds. 0: Reprise
    does not store these answers."""
    stale_while_revalidate: float = _setting(
        0.0, "a number of seconds from 0 to 2592000", ge=0, le=2_592_000
    )
    """For how many seconds Reprise may still serve a stale answer while it fetches a newer one."""
    stale_if_error: float = _setting(
        0.0, "a number of seconds from 0 to 2592000", ge=0, le=2_592_000
    )
    """For how many seconds Reprise may still serve a stale answer if the upstream fails."""
    isolation: Isolation = _setting(Isolation.CREDENTIAL, "user, credential or shared")
    """Who shares answers: requests of the same end user (`user`), requests with the same credential
    (`credential`), or all callers (`shared`)."""
    share_after: int = _setting(2, "a whole number from 1 to 16", ge=1, le=16)
    """With `REPRISE_ISOLATION=shared`: how many credentials must send the same request before
    Reprise serves its answer by meaning."""
    ignored_headers: _HeaderNames = _setting((), "names of end-to-end headers, separated by commas")
    """Comma-separated names of further request headers that are not part of the key. Credentials
    always are."""
    key_headers: _HeaderNames = _setting((), "names of end-to-end headers, separated by commas")
    """Comma-separated names of request headers that are always part of the key."""
    ignored_cookies: _CookieNames = _setting((), "names of cookies, separated by commas")
    """Comma-separated names of further cookies that are not part of the key, in addition to the
    known cookies of load balancers."""
    key_cookies: _CookieNames = _setting((), "names of cookies, separated by commas")
    """Comma-separated names of cookies that are always part of the key, even if they are known
    cookies of load balancers."""
    cors_origins: _Origins = _setting(
        (), "origins such as https://app.example.com, in lower case, separated by commas, or *"
    )
    """Comma-separated origins whose web pages may call the proxy, or `*` for all. Their preflights
    need no key, and all responses allow these pages to read them. Empty: the upstream decides, for
    hits too."""
    max_temperature: float = _setting(1.0, "a number, 0 or more", ge=0)
    """Requests above this temperature bypass the cache."""
    responses_by_meaning: bool = _setting(False, "true or false")
    """`true`: Responses requests can hit by meaning even if the upstream stores the answer (`store`
    absent or true) or if they continue a stored one. The hit has the id of the stored answer, so a
    continuation builds on the stored question."""
    finish_abandoned: bool = _setting(False, "true or false")
    """`true`: if all clients of an answer disconnect, Reprise still fetches the answer to its end
    and stores it."""
    fleet_collapse_wait: float = _setting(0.0, "a number of seconds from 0 to 600", ge=0, le=600)
    """With a Valkey: for how many seconds a proxy waits for an answer that another proxy is
    fetching. 0: it does not wait."""

    max_entries: int = _setting(100_000, "a whole number, 1 or more", ge=1)
    """The greatest number of entries of a store in this process. Above it, the store evicts the
    least recently used entries."""
    max_bytes: int | None = _setting(None, "a whole number, 1048576 or more", ge=1_048_576)
    """The memory that a store in this process may use, in bytes. Above it, the store evicts the
    least recently used entries. Unset: a quarter of the memory available to this process, at most 1
    GiB."""
    max_body_bytes: int = _setting(10_485_760, "a whole number, 1024 or more", ge=1024)
    """The largest body that Reprise caches, in bytes. It forwards larger requests without the
    cache, and does not store larger answers."""
    max_inflight_bytes: int = _setting(268_435_456, "a whole number, 1048576 or more", ge=1_048_576)
    """The bytes of bodies and replays that one process may hold, for all connections. Above this
    limit, Reprise caches nothing more, and reads the upstream as fast as the clients read. Above
    twice the limit, requests get 503 with `Retry-After`."""
    max_concurrent: int = _setting(0, "a whole number, 0 or more", ge=0)
    """The number of API requests that one process handles at once. Further requests get 503 with
    `Retry-After`. 0: no limit."""
    max_connections: int = _setting(0, "a whole number, 0 or more", ge=0)
    """The number of connections that one client address may have open to one process. A further
    connection gets 503 with `Retry-After` and is closed. 0: no limit."""
    head_timeout: float = _setting(30.0, "a number of seconds greater than 0", gt=0)
    """The longest time from the first to the last byte of a request's head, in seconds."""
    client_timeout: float = _setting(60.0, "a number of seconds greater than 0", gt=0)
    """For how many seconds a client may send no byte of an unfinished body, or read no byte of its
    response."""
    idle_timeout: float = _setting(75.0, "a number of seconds greater than 0", gt=0)
    """For how many seconds a connection may stay open without a request. Set it longer than the
    keep-alive time of clients, so that clients close first."""

    index_algorithm: Literal["hnsw", "flat"] = _setting("hnsw", "hnsw or flat")
    """The algorithm of a Valkey's vector indexes: `hnsw` or `flat`."""
    index_ef_runtime: int = _setting(100, "a whole number from 1 to 4096", ge=1, le=4096)
    """How many vectors a search of an `hnsw` index examines. With fewer, a search is faster but
    finds less."""
    index_max_inserts: int = _setting(10_000, "a whole number, 100 or more", ge=100)
    """The number of inserts after which Reprise begins a new index. If twice the number of living
    entries is more, that number applies."""

    admin_token: _Key = _setting(SecretStr(""), "a token of visible ASCII characters")
    """The bearer token of `/cache/*`, and the password of `/dashboard`. Unset: if standard error is
    a terminal, Reprise makes a random token at the start and prints it. Otherwise, these routes
    return 404."""
    admin_host: str = _setting("", "a host name or address, together with ADMIN_PORT")
    """The address of the operators' listener (see `REPRISE_ADMIN_PORT`). Empty: 127.0.0.1."""
    admin_port: int | None = _setting(None, "a whole number from 1 to 65535", ge=1, le=65_535)
    """The port of a separate listener for operators. If it is set, Reprise serves `/metrics`,
    `/cache/*` and `/dashboard` only there. Unset: it serves them on the port of the API."""

    log_level: LogLevel = _setting(LogLevel.INFO, "debug, info, warning or error")
    """The least severe log lines that Reprise writes: `debug`, `info`, `warning` or `error`. It
    logs requests at `info`, without their content."""
    log_format: Literal["text", "json"] = _setting("text", "text or json")
    """The format of log lines: `text` or `json`."""
    traces: Literal["off", "otlp"] = _setting("off", "off or otlp")
    """`otlp`: Reprise sends a trace of each request, as `OTEL_EXPORTER_OTLP_ENDPOINT` and related
    variables say. It needs `reprise-proxy[otel]`."""
    trace_content: bool = _setting(False, "true or false")
    """`true`: traces also contain questions and answers."""
    shutdown_timeout: int = _setting(25, "a whole number of seconds, 1 or more", ge=1)
    """How many seconds running requests have to finish after SIGTERM. Reprise still answers
    requests that arrive on open connections, and then closes these connections."""
