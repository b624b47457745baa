"""Settings: environment variables with the prefix `REPRISE_`, or the file `.env`."""

import re
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from app.api.middleware import is_loopback
from app.rules import setting_values as values
from app.rules.key import Isolation
from app.rules.modes import Mode
from app.stores.valkey.url import address_of, masked

PREFIX = "REPRISE_"

RETIRED = MappingProxyType(
    {
        "INDEX_EF_CONSTRUCTION": "indexes are made with EF_CONSTRUCTION 200",
        "INDEX_M": "indexes are made with M 16",
        "REPLAY_CHUNK_DELAY_MS": "streams from the store are sent as fast as the client reads",
    }
)
"""Settings of earlier versions, and what holds without them."""

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


class Settings(BaseSettings):
    """Everything that a deployment can decide; `scripts/docs-settings` makes a page of it."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True
    )

    host: str = _setting("127.0.0.1", "a host name or address", min_length=1)
    """The address to listen on."""
    port: int = _setting(8000, "a whole number from 0 to 65535", ge=0, le=65_535)
    """The port to listen on; 0 picks a free one."""
    workers: int = _setting(1, "a whole number from 1 to 256", ge=1, le=256)
    """Processes on one port, each with its own `/metrics`. More than one needs a store that they
    can share: a Valkey."""

    upstream_url: _UpstreamUrl = _setting(
        "https://api.openai.com/v1",
        "an http:// or https:// base URL without query, or simulated://?delay_ms=200",
    )
    """The OpenAI-compatible base URL; `simulated://?delay_ms=200` answers in process."""
    upstream_api_key: _Key = _setting(SecretStr(""), "a key of visible ASCII characters")
    """Sent to the upstream in place of the client's credential."""
    upstream_api_key_file: str = _setting("", "a file that can be read, with one key")
    """A file with that key, in its place; read anew when it changes."""
    anthropic_url: _OptionalUrl = _setting(
        "", "an http:// or https:// base URL without query, with /v1 or without"
    )
    """Where `/v1/messages` and whatever else carries `anthropic-version` goes, such as
    `https://api.anthropic.com`; `/v1` is added where it is not there. Empty: to the upstream."""
    anthropic_api_key: _Key = _setting(SecretStr(""), "a key of visible ASCII characters")
    """Sent there as `x-api-key` in place of the client's credential; the upstream's key never is.
    """
    api_keys: _Keys = _setting((), "keys of visible ASCII characters, separated by commas")
    """Comma-separated keys that clients must present; with them the client's credential never goes
    upstream."""
    api_keys_file: str = _setting("", "a file that can be read, with one key a line")
    """A file with these keys, in their place: one a line, but for empty lines and such as begin
    with `#`; read anew when it changes."""
    passthrough: Literal["auto", "on", "off"] = _setting("auto", "auto, on or off")
    """Other `/v1/*` routes: `on`, `off`, or `auto`: on while the client's own credential is
    forwarded, else only reading `/v1/models` and counting the tokens of messages."""
    upstream_connect_timeout: float = _setting(5.0, "seconds, more than 0", gt=0)
    """Seconds to connect to the upstream."""
    upstream_timeout: float = _setting(600.0, "seconds, more than 0", gt=0)
    """Seconds of silence between the upstream's bytes."""

    store: _StoreUrl = _setting(
        "memory://",
        "memory://, sqlite:///relative.db, sqlite:////absolute.db, valkey://host:6379/0, "
        "valkeys:// (TLS, ?ca=file), unix:///path?db=0, or a cluster: valkey+cluster://host:6379, "
        "valkeys+cluster:// (?reads=replicas)",
        repr=False,  # it may hold a password
    )
    """Where answers are kept: `memory://`, in this process; `sqlite:///relative.db` or
    `sqlite:////absolute.db`, in a file as well; `valkey://user:password@host:6379/0`,
    `valkeys://…?ca=file` (TLS) or `unix:///path?db=0`, in a Valkey that many share;
    `valkey+cluster://…` or `valkeys+cluster://…?ca=file` (`?reads=replicas`), in a cluster. A
    Valkey's URL may have `password_file=path` in place of a password."""
    store_timeout: float = _setting(0.25, "seconds, more than 0", gt=0)
    """Seconds that the store may cost one request."""
    store_secret: SecretStr = _setting(SecretStr(""), "a secret")
    """Makes partitions, entry ids and the seals of entries HMACs: what others have written to the
    store answers nobody."""
    embedder: _Embedder = _setting(
        "local", "local, upstream, or an http:// or https:// base URL without query"
    )
    """`local` (the model that ships with Reprise), `upstream` (its `/embeddings`), or an
    OpenAI-compatible base URL."""
    embedder_api_key: _Key = _setting(SecretStr(""), "a key of visible ASCII characters")
    """Sent to a remote embedder."""
    embedding_model: str = _setting("text-embedding-3-small", "a model's name", min_length=1)
    """The model of a remote embedder."""
    embedding_dimensions: int = _setting(1536, "a whole number from 1 to 16384", ge=1, le=16_384)
    """How many dimensions a remote embedder's embeddings have."""
    embedder_timeout: float = _setting(2.0, "seconds, more than 0", gt=0)
    """Seconds that the embedder may take."""
    guards: Literal["on", "off"] = _setting("on", "on or off")
    """`on`: neighbours that can be shown to ask something else do not answer."""
    verifier: Literal["on", "off"] = _setting("on", "on or off")
    """`on`: a model reads both questions before a neighbour answers."""
    verifier_model: str = _setting(
        "", "a folder with what training/ makes; with VERIFIER_URL, a model's name there"
    )
    """The folder of another model than the one that ships, made by `training/`. With
    `REPRISE_VERIFIER_URL`, the model's name: a server is then asked as Cohere's and Jina's are,
    without it as Text Embeddings Inference."""
    verifier_url: _OptionalUrl = _setting("", "the http:// or https:// URL of a rerank endpoint")
    """A rerank endpoint in place of the model that ships, such as `http://127.0.0.1:8080/rerank`;
    it needs `REPRISE_VERIFIER_CALIBRATION`."""
    verifier_api_key: _Key = _setting(SecretStr(""), "a key of visible ASCII characters")
    """Sent to the rerank endpoint."""
    verifier_calibration: str = _setting("", "a file that `reprise calibrate` makes")
    """The file that says what the verifier's scores are worth with this embedder; empty: what
    ships with the model."""
    verifier_timeout: float = _setting(0.5, "seconds, more than 0", gt=0)
    """Seconds that the verifier may take."""

    max_distance: float | None = _setting(None, "a cosine distance from 0 to 2", ge=0, le=2)
    """The cosine distance beyond which a neighbour never answers; unset: as far as the verifier was
    measured, or 0.15 without it."""
    max_error_rate: float = _setting(0.01, "a share, more than 0 and less than 1", gt=0, lt=1)
    """The share of hits by meaning that may be wrong, by what was measured of the verifier."""
    mode: Mode = _setting(Mode.SERVE, "serve, serve-exact or shadow")
    """What answers: all that is found (`serve`), exact matches (`serve-exact`), nothing (`shadow`);
    what is kept back is looked up and stored as always, and `x-cache-shadow` tells of it."""
    policy: str = _setting("", "a TOML file of rules that can be read")
    """A TOML file of rules by model, namespace or path: tier, lifetimes, dial; the first that a
    request meets holds for it. Read at the start."""
    ttl: float = _setting(3600.0, "seconds from 0 to 2592000", ge=0, le=2_592_000)
    """The freshness lifetime of an answer, in seconds."""
    min_ttl: float = _setting(0.0, "seconds from 0 to 2592000", ge=0, le=2_592_000)
    """The least that `x-cache-ttl` can ask for, in seconds."""
    max_ttl: float = _setting(2_592_000.0, "seconds from 0 to 2592000", ge=0, le=2_592_000)
    """The most that `x-cache-ttl` can ask for, in seconds; with `REPRISE_ISOLATION=shared` no more
    than `REPRISE_TTL`."""
    volatile_ttl: float = _setting(60.0, "seconds from 0 to 2592000", ge=0, le=2_592_000)
    """The longest freshness lifetime of answers to time-bound questions, in seconds; 0: they are
    not stored."""
    stale_while_revalidate: float = _setting(0.0, "seconds from 0 to 2592000", ge=0, le=2_592_000)
    """Seconds past its freshness in which an answer still serves, while a newer one is fetched."""
    stale_if_error: float = _setting(0.0, "seconds from 0 to 2592000", ge=0, le=2_592_000)
    """Seconds past its freshness in which an answer serves if the upstream fails."""
    isolation: Isolation = _setting(Isolation.CREDENTIAL, "user, credential or shared")
    """Who shares answers: `user`, `credential` or `shared`."""
    share_after: int = _setting(2, "a whole number from 1 to 16", ge=1, le=16)
    """With `shared`: how many credentials must ask the same before it answers by meaning."""
    ignored_headers: _HeaderNames = _setting((), "names of end-to-end headers, separated by commas")
    """Comma-separated further request headers that take no part in the key; credentials always do.
    """
    key_headers: _HeaderNames = _setting((), "names of end-to-end headers, separated by commas")
    """Comma-separated request headers that take part in the key, whatever else is said of them."""
    ignored_cookies: _CookieNames = _setting((), "names of cookies, separated by commas")
    """Comma-separated cookies that are no identity, beside the load balancers' known ones."""
    key_cookies: _CookieNames = _setting((), "names of cookies, separated by commas")
    """Comma-separated cookies that take part in the key though a load balancer's."""
    cors_origins: _Origins = _setting(
        (), "origins such as https://app.example.com, in lower case, separated by commas, or *"
    )
    """Comma-separated origins whose web pages may call, `*` for all: preflights need no key, and
    answers of any kind say that these pages may read them. Empty: as the upstream says, hits too.
    """
    max_temperature: float = _setting(1.0, "a number, 0 or more", ge=0)
    """Requests above this temperature bypass the cache."""
    responses_by_meaning: bool = _setting(False, "true or false")
    """`true`: Responses requests that the upstream stores (`store` absent or true) are answered by
    meaning as well, with the original id, and so are those that go on from one: a continuation then
    builds on the stored question."""
    finish_abandoned: bool = _setting(False, "true or false")
    """`true`: an answer that all its clients have left is fetched to its end, and stored."""
    fleet_collapse_wait: float = _setting(0.0, "seconds from 0 to 600", ge=0, le=600)
    """Seconds that a proxy on a Valkey waits for an answer that another one is asking for; 0: not
    at all."""

    max_entries: int = _setting(100_000, "a whole number, 1 or more", ge=1)
    """Entries of a store in this process; beyond it the least recently used are evicted."""
    max_bytes: int | None = _setting(None, "a whole number, 1048576 or more", ge=1_048_576)
    """Bytes of memory that a store in this process may take; beyond it the least recently used are
    evicted. Unset: 1 GiB, or a quarter of the memory that this process may have, whichever is less.
    """
    max_body_bytes: int = _setting(10_485_760, "a whole number, 1024 or more", ge=1024)
    """Larger requests stream past the cache; larger answers are not stored."""
    max_inflight_bytes: int = _setting(268_435_456, "a whole number, 1048576 or more", ge=1_048_576)
    """Bytes of bodies and replays on their way, over all connections: beyond it nothing more is
    cached and the upstream is read as fast as clients read; at twice that, 503 with `Retry-After`.
    """
    max_concurrent: int = _setting(0, "a whole number, 0 or more", ge=0)
    """Requests of the API that one process answers at once; beyond it 503 with `Retry-After`. 0: no
    limit."""
    max_connections: int = _setting(0, "a whole number, 0 or more", ge=0)
    """Connections that one address may have open to one process; one more is answered 503 with
    `Retry-After`, and closed. 0: no limit."""
    head_timeout: float = _setting(30.0, "seconds, more than 0", gt=0)
    """Seconds that a client may take for the head of a request, from its first byte on."""
    client_timeout: float = _setting(60.0, "seconds, more than 0", gt=0)
    """Seconds that a client may be silent in the body of a request, or may leave unread what it was
    sent."""
    idle_timeout: float = _setting(75.0, "seconds, more than 0", gt=0)
    """Seconds that a connection may be open without a request: longer than clients keep theirs, so
    that it is they who close."""

    index_algorithm: Literal["hnsw", "flat"] = _setting("hnsw", "hnsw or flat")
    """The algorithm of a Valkey's vector indexes: `hnsw` or `flat`."""
    index_ef_runtime: int = _setting(100, "a whole number from 1 to 4096", ge=1, le=4096)
    """Vectors that a search of an `hnsw` index examines; fewer miss more of what is there."""
    index_max_inserts: int = _setting(10_000, "a whole number, 100 or more", ge=100)
    """Inserts after which the next index is begun, or twice what is alive if that is more."""

    admin_token: _Key = _setting(SecretStr(""), "a token of visible ASCII characters")
    """The bearer token of `/cache/*`. None: drawn at start and printed if standard error is a
    terminal; else these routes answer 404."""
    admin_host: str = _setting("", "a host name or address; with ADMIN_PORT")
    """The address of the listener for operators; empty: 127.0.0.1."""
    admin_port: int | None = _setting(None, "a whole number from 1 to 65535", ge=1, le=65_535)
    """The port of a listener of its own for `/metrics` and `/cache/*`, which then answer there
    alone. Unset: they answer where all else does."""

    log_level: LogLevel = _setting(LogLevel.INFO, "debug, info, warning or error")
    """`debug`, `info`, `warning` or `error`; requests are logged at `info`, without content."""
    log_format: Literal["text", "json"] = _setting("text", "text or json")
    """`text` or `json`."""
    shutdown_timeout: int = _setting(25, "seconds, a whole number, 1 or more", ge=1)
    """Seconds that requests in flight have to finish after SIGTERM. What still arrives on open
    connections is answered, and they are closed."""

    @property
    def is_shared(self) -> bool:
        """Whether several processes can share the store."""
        return self.store.startswith(("valkey", "unix"))

    @property
    def shown_store(self) -> str:
        """The store's URL without its secrets."""
        return masked(self.store)

    @property
    def is_simulated(self) -> bool:
        """Whether answers are made up in process."""
        return values.SIMULATED.fullmatch(self.upstream_url) is not None

    @property
    def simulated_delay(self) -> float:
        """The simulated upstream's delay, in seconds."""
        match = values.SIMULATED.fullmatch(self.upstream_url)
        return int(match[1] or 0) / 1000 if match else 0.0

    @property
    def operators_host(self) -> str:
        """The address of the listener for operators, if there is one."""
        return self.admin_host or "127.0.0.1"

    @property
    def asks_for_keys(self) -> bool:
        """Whether clients must present a key of ours."""
        return bool(self.api_keys or self.api_keys_file)

    @property
    def keeps_credentials(self) -> bool:
        """Whether the client's own credential goes upstream."""
        has_key = self.upstream_api_key.get_secret_value() or self.upstream_api_key_file
        return not self.asks_for_keys and not has_key

    @property
    def anthropic_upstream(self) -> str:
        """The base URL of Anthropic's API; empty where it is the upstream's, with its key."""
        if self.anthropic_url:
            return f"{self.anthropic_url.removesuffix('/v1')}/v1"
        has_key = bool(self.anthropic_api_key.get_secret_value())
        return self.upstream_url if has_key and not self.is_simulated else ""

    @property
    def is_anthropic_elsewhere(self) -> bool:
        """Whether messages go to another server than the upstream."""
        url = self.anthropic_upstream
        return bool(url) and values.origin_of(url) != values.origin_of(self.upstream_url)

    @property
    def keeps_anthropic_credentials(self) -> bool:
        """Whether the client's own credential goes where messages go."""
        if not self.anthropic_upstream:
            return self.keeps_credentials
        return not self.asks_for_keys and not self.anthropic_api_key.get_secret_value()

    @property
    def embedder_url(self) -> str:
        """The base URL of a remote embedder."""
        return self.upstream_url if self.embedder == "upstream" else self.embedder

    @property
    def embeds_upstream(self) -> bool:
        """Whether the embedder is the upstream's server, with no key of its own.

        Only then may it be sent what the upstream is sent: our key, or the client's credential.
        """
        if self.embedder == "local" or self.embedder_api_key.get_secret_value():
            return False
        return values.origin_of(self.embedder_url) == values.origin_of(self.upstream_url)

    @property
    def lets_strangers_in(self) -> bool:
        """Whether others than this machine may come without a key."""
        return not self.asks_for_keys and not is_loopback(self.host)

    @property
    def embeds_as_caller(self) -> bool:
        """Whether the embedder is sent the client's own credential."""
        return self.embeds_upstream and self.keeps_credentials

    @property
    def guards_origin(self) -> bool:
        """Whether web pages are to be kept out, from our key or from everyone's answers."""
        is_valuable = bool(self.our_key) or self.isolation is Isolation.SHARED
        return is_valuable and not self.asks_for_keys

    @property
    def our_key(self) -> str | None:
        """The name of a setting by which we send a key of ours in place of the client's, if any."""
        named = {
            "UPSTREAM_API_KEY": self.upstream_api_key.get_secret_value(),
            "UPSTREAM_API_KEY_FILE": self.upstream_api_key_file,
            "ANTHROPIC_API_KEY": self.anthropic_api_key.get_secret_value(),
        }
        return next((name for name, value in named.items() if value), None)


class FixedSettings(Settings):
    """Settings from code alone: neither the environment nor a file is read."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read neither the environment nor a file."""
        return (init_settings,)
