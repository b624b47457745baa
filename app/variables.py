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
    """The port to listen on; 0 picks a free one."""
    workers: int = _setting(1, "a whole number from 1 to 256", ge=1, le=256)
    """The number of processes that serve the port, of which `/metrics` gives the sum. More than one
    needs a store that they can share: a Valkey."""

    upstream_url: _UpstreamUrl = _setting(
        "https://api.openai.com/v1",
        "an http:// or https:// base URL without query, or simulated://?delay_ms=200",
    )
    """The base URL of an OpenAI-compatible server; `simulated://?delay_ms=200` makes answers up in
    this process."""
    upstream_api_key: _Key = _setting(SecretStr(""), "a key of visible ASCII characters")
    """The key that is sent to the upstream in place of the client's credential."""
    upstream_api_key_file: str = _setting("", "a readable file with one key")
    """A file with the upstream's key, instead of `REPRISE_UPSTREAM_API_KEY`; read again when it
    changes."""
    anthropic_url: _OptionalUrl = _setting(
        "", "an http:// or https:// base URL without query, with /v1 or without"
    )
    """The server for `/v1/messages` and for other requests with the header `anthropic-version`,
    such as `https://api.anthropic.com`; `/v1` is added if it is missing. Empty: the upstream."""
    anthropic_api_key: _Key = _setting(SecretStr(""), "a key of visible ASCII characters")
    """The key that is sent to Anthropic's server as `x-api-key`, in place of the client's
    credential. The upstream's key is never sent there."""
    api_keys: _Keys = _setting((), "keys of visible ASCII characters, separated by commas")
    """Comma-separated keys, of which clients must send one. If set, clients' credentials are never
    sent to the upstream."""
    api_keys_file: str = _setting("", "a readable file with one key per line")
    """A file with the clients' keys, one per line, instead of `REPRISE_API_KEYS`. Empty lines and
    lines that begin with `#` are ignored; read again when it changes."""
    passthrough: Literal["auto", "on", "off"] = _setting("auto", "auto, on or off")
    """Whether other `/v1/*` routes are forwarded: `on`, `off` or `auto`. `auto` means `on` while
    clients' own credentials are forwarded; otherwise only reading `/v1/models` and counting the
    tokens of messages."""
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
    """Where answers are kept. `memory://`: in this process. `sqlite:///relative.db` or
    `sqlite:////absolute.db`: in this process and in a file. `valkey://user:password@host:6379/0`,
    `valkeys://…?ca=file` (TLS) or `unix:///path?db=0`: in a Valkey that many proxies can share.
    `valkey+cluster://…` or `valkeys+cluster://…?ca=file` (`?reads=replicas`): in a cluster. A
    Valkey's URL may have `password_file=path` instead of a password."""
    store_timeout: float = _setting(0.25, "a number of seconds greater than 0", gt=0)
    """The longest time that the store may take for one request, in seconds."""
    store_secret: SecretStr = _setting(SecretStr(""), "a secret")
    """A secret by which partitions, ids and seals of entries become HMACs: entries that others have
    written to the store are never served."""
    embedder: _Embedder = _setting(
        "local", "local, upstream, or an http:// or https:// base URL without query"
    )
    """The model that makes embeddings: `local` (it ships with Reprise), `upstream` (the upstream's
    `/embeddings`), or the base URL of an OpenAI-compatible server."""
    embedder_api_key: _Key = _setting(SecretStr(""), "a key of visible ASCII characters")
    """The key that is sent to a remote embedder."""
    embedding_model: str = _setting("text-embedding-3-small", "a model's name", min_length=1)
    """The name of a remote embedder's model."""
    embedding_dimensions: int = _setting(1536, "a whole number from 1 to 16384", ge=1, le=16_384)
    """The number of dimensions of a remote embedder's embeddings."""
    embedder_timeout: float = _setting(2.0, "a number of seconds greater than 0", gt=0)
    """The longest time that the embedder may take for one text, in seconds."""
    guards: Literal["on", "off"] = _setting("on", "on or off")
    """`on`: a near question does not answer if a rule proves that it asks something else."""
    verifier: Literal["on", "off"] = _setting("on", "on or off")
    """`on`: a near question answers only if a model that reads both questions agrees."""
    verifier_model: str = _setting(
        "", "a folder made by training/; with VERIFIER_URL, the name of a model on that server"
    )
    """A folder with a model made by `training/`, to use instead of the one that ships. With
    `REPRISE_VERIFIER_URL`, it is the model's name on that server instead: if it is set, the server
    is called by Cohere's and Jina's API, otherwise by that of Text Embeddings Inference."""
    verifier_url: _OptionalUrl = _setting("", "the http:// or https:// URL of a rerank endpoint")
    """The URL of a rerank endpoint to use instead of the model that ships, such as
    `http://127.0.0.1:8080/rerank`; it needs `REPRISE_VERIFIER_CALIBRATION`."""
    verifier_api_key: _Key = _setting(SecretStr(""), "a key of visible ASCII characters")
    """The key that is sent to the rerank endpoint."""
    verifier_calibration: str = _setting("", "a file made by `reprise calibrate`")
    """A file, made by `reprise calibrate`, that turns the verifier's scores into probabilities for
    this embedder. Empty: the calibration that ships with the model."""
    verifier_timeout: float = _setting(0.5, "a number of seconds greater than 0", gt=0)
    """The longest time that the verifier may take for one question, in seconds."""

    max_distance: float | None = _setting(None, "a cosine distance from 0 to 2", ge=0, le=2)
    """The greatest cosine distance at which a near question may answer. Unset: the distance up to
    which the verifier was calibrated; 0.15 without a verifier."""
    max_error_rate: float = _setting(0.01, "a share greater than 0 and less than 1", gt=0, lt=1)
    """The share of hits by meaning that may be wrong, as measured when the verifier was calibrated.
    """
    mode: Mode = _setting(Mode.SERVE, "serve, serve-exact or shadow")
    """Which hits are served: all (`serve`), exact matches only (`serve-exact`) or none (`shadow`).
    Answers are looked up and stored in every mode; `x-cache-shadow` reports hits not served."""
    policy: str = _setting("", "a readable TOML file of rules")
    """A TOML file with rules by model, namespace or path, which set tier, lifetimes and dial. The
    first rule that matches a request applies. Read at the start."""
    prices: str = _setting("", "a TOML file of prices by model, in dollars per million tokens")
    """A TOML file with prices of models, which come before the list that ships; see
    [savings](savings.md)."""
    audit_rate: float = _setting(0.0, "a share from 0 to 1", ge=0, le=1)
    """The share of hits that are audited: the upstream is asked the same in the background, with
    `REPRISE_UPSTREAM_API_KEY`, to count wrong hits. If too many are wrong, hits by meaning become
    stricter. 0: none."""
    ttl: float = _setting(3600.0, "a number of seconds from 0 to 2592000", ge=0, le=2_592_000)
    """The freshness lifetime of an answer, in seconds."""
    min_ttl: float = _setting(0.0, "a number of seconds from 0 to 2592000", ge=0, le=2_592_000)
    """The shortest freshness lifetime that `x-cache-ttl` can ask for, in seconds."""
    max_ttl: float = _setting(
        2_592_000.0, "a number of seconds from 0 to 2592000", ge=0, le=2_592_000
    )
    """The longest freshness lifetime that `x-cache-ttl` can ask for, in seconds; with
    `REPRISE_ISOLATION=shared` at most `REPRISE_TTL`."""
    volatile_ttl: float = _setting(
        60.0, "a number of seconds from 0 to 2592000", ge=0, le=2_592_000
    )
    """The longest freshness lifetime of answers to time-bound questions, in seconds. 0: they are
    not stored."""
    stale_while_revalidate: float = _setting(
        0.0, "a number of seconds from 0 to 2592000", ge=0, le=2_592_000
    )
    """For how many seconds a stale answer may still be served while a newer one is fetched."""
    stale_if_error: float = _setting(
        0.0, "a number of seconds from 0 to 2592000", ge=0, le=2_592_000
    )
    """For how many seconds a stale answer may still be served if the upstream fails."""
    isolation: Isolation = _setting(Isolation.CREDENTIAL, "user, credential or shared")
    """Who shares answers: only requests of the same end user (`user`), of the same credential
    (`credential`), or all callers (`shared`)."""
    share_after: int = _setting(2, "a whole number from 1 to 16", ge=1, le=16)
    """With `REPRISE_ISOLATION=shared`: how many credentials must have sent the same request before
    its answer is served by meaning."""
    ignored_headers: _HeaderNames = _setting((), "names of end-to-end headers, separated by commas")
    """Comma-separated names of further request headers that are not part of the key. Credentials
    always are."""
    key_headers: _HeaderNames = _setting((), "names of end-to-end headers, separated by commas")
    """Comma-separated names of request headers that are always part of the key."""
    ignored_cookies: _CookieNames = _setting((), "names of cookies, separated by commas")
    """Comma-separated names of further cookies that do not identify a caller, in addition to the
    known cookies of load balancers."""
    key_cookies: _CookieNames = _setting((), "names of cookies, separated by commas")
    """Comma-separated names of cookies that are always part of the key, even if they are known
    cookies of load balancers."""
    cors_origins: _Origins = _setting(
        (), "origins such as https://app.example.com, in lower case, separated by commas, or *"
    )
    """Comma-separated origins whose web pages may call the proxy, or `*` for all. Their preflights
    need no key, and all answers allow these pages to read them. Empty: the upstream decides, for
    hits too."""
    max_temperature: float = _setting(1.0, "a number, 0 or more", ge=0)
    """Requests above this temperature bypass the cache."""
    responses_by_meaning: bool = _setting(False, "true or false")
    """`true`: Responses requests are answered by meaning even if the upstream stores the answer
    (`store` absent or true) or they continue a stored one. The hit has the id of the stored answer,
    so a continuation builds on the question that was stored."""
    finish_abandoned: bool = _setting(False, "true or false")
    """`true`: an answer is fetched to its end and stored even if all of its clients have left."""
    fleet_collapse_wait: float = _setting(0.0, "a number of seconds from 0 to 600", ge=0, le=600)
    """With a Valkey: for how many seconds a proxy waits for an answer that another proxy is
    fetching. 0: not at all."""

    max_entries: int = _setting(100_000, "a whole number, 1 or more", ge=1)
    """The greatest number of entries of a store in this process; beyond it, the least recently used
    are evicted."""
    max_bytes: int | None = _setting(None, "a whole number, 1048576 or more", ge=1_048_576)
    """How many bytes of memory a store in this process may take; beyond it, the least recently used
    are evicted. Unset: a quarter of the memory that this process may have, at most 1 GiB."""
    max_body_bytes: int = _setting(10_485_760, "a whole number, 1024 or more", ge=1024)
    """The largest body that is cached, in bytes. Larger requests are forwarded without the cache;
    larger answers are not stored."""
    max_inflight_bytes: int = _setting(268_435_456, "a whole number, 1048576 or more", ge=1_048_576)
    """How many bytes of bodies and replays may be held at once, for all connections. Beyond it,
    nothing more is cached and the upstream is read as fast as clients read. Beyond twice as many,
    requests get 503 with `Retry-After`."""
    max_concurrent: int = _setting(0, "a whole number, 0 or more", ge=0)
    """How many requests of the API one process answers at once; further ones get 503 with
    `Retry-After`. 0: no limit."""
    max_connections: int = _setting(0, "a whole number, 0 or more", ge=0)
    """How many connections one client address may have open to one process; a further one gets 503
    with `Retry-After` and is closed. 0: no limit."""
    head_timeout: float = _setting(30.0, "a number of seconds greater than 0", gt=0)
    """The longest time from the first to the last byte of a request's head, in seconds."""
    client_timeout: float = _setting(60.0, "a number of seconds greater than 0", gt=0)
    """For how many seconds a client may send nothing of an unfinished body, or read nothing of what
    it is sent."""
    idle_timeout: float = _setting(75.0, "a number of seconds greater than 0", gt=0)
    """For how many seconds a connection may stay open without a request. Longer than clients keep
    theirs, so that clients are the ones that close."""

    index_algorithm: Literal["hnsw", "flat"] = _setting("hnsw", "hnsw or flat")
    """The algorithm of a Valkey's vector indexes: `hnsw` or `flat`."""
    index_ef_runtime: int = _setting(100, "a whole number from 1 to 4096", ge=1, le=4096)
    """How many vectors a search of an `hnsw` index examines; fewer are faster but find less."""
    index_max_inserts: int = _setting(10_000, "a whole number, 100 or more", ge=100)
    """After how many inserts a new index is begun; or twice the number of living entries, if that
    is more."""

    admin_token: _Key = _setting(SecretStr(""), "a token of visible ASCII characters")
    """The bearer token of `/cache/*`, also the password of `/dashboard`. Unset: if standard error
    is a terminal, a random token is made at the start and printed; otherwise these routes answer
    404."""
    admin_host: str = _setting("", "a host name or address, together with ADMIN_PORT")
    """The address of the operators' listener (see `REPRISE_ADMIN_PORT`); empty: 127.0.0.1."""
    admin_port: int | None = _setting(None, "a whole number from 1 to 65535", ge=1, le=65_535)
    """The port of a separate listener for operators: `/metrics`, `/cache/*` and `/dashboard` are
    then served only there. Unset: they are served on the same port as the API."""

    log_level: LogLevel = _setting(LogLevel.INFO, "debug, info, warning or error")
    """The least severe log lines that are written: `debug`, `info`, `warning` or `error`. Requests
    are logged at `info`, without their content."""
    log_format: Literal["text", "json"] = _setting("text", "text or json")
    """The format of log lines: `text` or `json`."""
    traces: Literal["off", "otlp"] = _setting("off", "off or otlp")
    """`otlp`: each request is a trace, sent as `OTEL_EXPORTER_OTLP_ENDPOINT` and related variables
    say; it needs `reprise-proxy[otel]`."""
    trace_content: bool = _setting(False, "true or false")
    """`true`: traces contain questions and answers as well."""
    shutdown_timeout: int = _setting(25, "a whole number of seconds, 1 or more", ge=1)
    """How many seconds running requests have to finish after SIGTERM. Requests that still arrive on
    open connections are answered, and the connections are closed after that."""
