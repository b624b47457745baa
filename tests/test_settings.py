from typing import Any

import pytest

from app.configuration import load_settings
from app.core.errors import ConfigurationError
from app.settings import Settings
from app.variables import PREFIX


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(PREFIX + name.upper(), raising=False)


def load(monkeypatch: pytest.MonkeyPatch, **environment: str) -> Settings:
    for name, value in environment.items():
        monkeypatch.setenv(PREFIX + name, value)
    return load_settings()


def test_without_environment_the_defaults_hold() -> None:
    settings = load_settings()
    assert (settings.host, settings.port, settings.workers) == ("127.0.0.1", 8000, 1)
    assert settings.upstream_url == "https://api.openai.com/v1"
    assert (settings.store, settings.embedder, settings.verifier) == ("memory://", "local", "on")
    assert (settings.max_distance, settings.max_error_rate) == (None, 0.01)
    assert (settings.ttl, settings.max_temperature) == (3600, 1.0)
    assert settings.keeps_credentials


def test_the_environment_wins_over_the_file_and_arguments_over_both(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    (tmp_path / ".env").write_text("REPRISE_PORT=1\nREPRISE_TTL=1\nREPRISE_HOST=::1\nOTHER=x\n")
    monkeypatch.setenv("REPRISE_PORT", "2")
    monkeypatch.setenv("REPRISE_TTL", "2")
    settings = load_settings(port=3)
    assert (settings.port, settings.ttl, settings.host) == (3, 2, "::1")


def test_lists_are_split_at_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, API_KEYS=" a, b,,", IGNORED_HEADERS="X-A,x-b")
    assert [key.get_secret_value() for key in settings.api_keys] == ["a", "b"]
    assert settings.ignored_headers == ("X-A", "x-b")
    assert not settings.keeps_credentials


def test_empty_means_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(monkeypatch, API_KEYS="", PORT="", UPSTREAM_API_KEY="") == load_settings()


@pytest.mark.parametrize(
    ("url", "delay"), [("simulated://", 0), ("simulated://?delay_ms=200", 0.2)]
)
def test_the_simulated_upstream_has_a_url_too(
    monkeypatch: pytest.MonkeyPatch, url: str, delay: float
) -> None:
    settings = load(monkeypatch, UPSTREAM_URL=url)
    assert (settings.is_simulated, settings.simulated_delay) == (True, delay)


def test_a_slash_at_the_end_of_the_upstream_does_not_matter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert load(monkeypatch, UPSTREAM_URL="http://a/v1/").upstream_url == "http://a/v1"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "eighty"),
        ("PORT", "65536"),
        ("WORKERS", "0"),
        ("UPSTREAM_URL", "api.openai.com"),
        ("UPSTREAM_URL", "ftp://a/v1"),
        ("UPSTREAM_URL", "http:///v1"),
        ("UPSTREAM_URL", "http://a/v1?key=1"),
        ("UPSTREAM_URL", "http://user:pass@a/v1"),
        ("UPSTREAM_URL", "http://a/v1?"),
        ("UPSTREAM_URL", "http://a/v1#"),
        ("UPSTREAM_URL", "http://a/v1 "),
        ("UPSTREAM_URL", "http://exa mple.com"),
        ("UPSTREAM_URL", "http://h\x01ost/v1"),
        ("UPSTREAM_URL", "http://höst/v1"),
        ("UPSTREAM_URL", "SIMULATED://"),
        ("UPSTREAM_URL", "simulated://host"),
        ("UPSTREAM_URL", "simulated://?delay_ms=99999999999999"),
        ("ANTHROPIC_URL", "api.anthropic.com"),
        ("ANTHROPIC_URL", "https://api.anthropic.com/v1?beta=true"),
        ("ANTHROPIC_URL", "simulated://"),
        ("IGNORED_HEADERS", ","),
        ("IGNORED_HEADERS", "X Mine"),
        ("KEY_HEADERS", ","),
        ("CORS_ORIGINS", ","),
        ("CORS_ORIGINS", "https://app.example.com/"),
        ("CORS_ORIGINS", "https://App.example.com"),
        ("CORS_ORIGINS", "app.example.com"),
        ("KEY_HEADERS", "X-Tenant:"),
        ("KEY_HEADERS", "X-Tenant,Connection"),
        ("UPSTREAM_URL", "http://a:99999/v1"),
        ("UPSTREAM_URL", "simulated://?delay_ms=soon"),
        ("UPSTREAM_URL", "simulated://?delay=1"),
        ("PASSTHROUGH", "maybe"),
        ("UPSTREAM_TIMEOUT", "0"),
        ("STORE", "redis://a"),
        ("STORE", "memory://a"),
        ("STORE", "sqlite://"),
        ("STORE", "sqlite:///"),
        ("STORE", "sqlite://cache.db"),
        ("STORE", "sqlite:///folder/"),
        ("STORE", "sqlite:///cache.db?mode=ro"),
        ("STORE", "sqlite:///cache\n.db"),
        ("STORE", "valkey+cluster://a/1"),
        ("STORE", "valkey://user:pass@a/one"),
        ("INDEX_ALGORITHM", "ivf"),
        ("INDEX_EF_RUNTIME", "0"),
        ("INDEX_MAX_INSERTS", "99"),
        ("EMBEDDER", "remote"),
        ("EMBEDDER", "simulated://"),
        ("EMBEDDER", "http://user:pass@a/v1"),
        ("EMBEDDER", "http://a/v1?key=1"),
        ("EMBEDDING_DIMENSIONS", "0"),
        ("EMBEDDING_DIMENSIONS", "16385"),
        ("EMBEDDING_DIMENSIONS", "many"),
        ("VERIFIER", "maybe"),
        ("VERIFIER_TIMEOUT", "0"),
        ("MAX_ERROR_RATE", "0"),
        ("MAX_ERROR_RATE", "1"),
        ("MAX_DISTANCE", "-0.1"),
        ("MAX_DISTANCE", "nan"),
        ("TTL", "2592001"),
        ("MIN_TTL", "-1"),
        ("MAX_TTL", "2592001"),
        ("VOLATILE_TTL", "soon"),
        ("STALE_WHILE_REVALIDATE", "-1"),
        ("STALE_IF_ERROR", "a day"),
        ("ISOLATION", "none"),
        ("MAX_ENTRIES", "1.5"),
        ("LOG_LEVEL", "loud"),
        ("LOG_FORMAT", "xml"),
    ],
)
def test_a_bad_value_is_refused_in_one_line_that_says_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(monkeypatch, **{name: value})
    line = str(caught.value)
    extra = Settings.model_fields[name.lower()].json_schema_extra
    assert isinstance(extra, dict)
    shown = "(hidden)" if "@" in value else repr(value)
    assert line == f"REPRISE_{name}={shown} is not allowed: it must be {extra['allowed']}"


def test_the_password_of_the_store_shows_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, STORE="valkey://proxy:hunter2@db:6379/1")
    assert settings.shown_store == "valkey://***@db:6379/1"
    assert "hunter2" not in repr(settings) + str(settings)


def test_the_least_lifetime_is_not_more_than_the_most(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(monkeypatch, MIN_TTL="60", MAX_TTL="60").min_ttl == 60
    with pytest.raises(
        ConfigurationError, match=r"MIN_TTL=61 .* REPRISE_MAX_TTL=60: it must not be greater$"
    ):
        load(monkeypatch, MIN_TTL="61", MAX_TTL="60")


@pytest.mark.parametrize("store", ["valkey://db", "valkey+cluster://db", "unix:///db"])
def test_a_store_that_can_be_shared_may_have_workers(
    monkeypatch: pytest.MonkeyPatch, store: str
) -> None:
    assert load(monkeypatch, STORE=store, WORKERS="4").workers == 4


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("API_KEYS", ","),
        ("API_KEYS", "a,b c"),
        ("API_KEYS", "schlüssel"),
        ("UPSTREAM_API_KEY", "a\nb"),
        ("EMBEDDER_API_KEY", "a b"),
    ],
)
def test_a_bad_secret_is_refused_without_being_shown(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    with pytest.raises(
        ConfigurationError, match=rf"^REPRISE_{name}=\(hidden\) is not allowed: it must be (a )?key"
    ):
        load(monkeypatch, **{name: value})


def test_a_key_may_come_with_the_line_end_of_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, UPSTREAM_API_KEY="sk-1\n")
    assert settings.upstream_api_key.get_secret_value() == "sk-1"


def test_every_bad_value_has_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(monkeypatch, PORT="x", TTL="y")
    assert [line.split("=")[0] for line in str(caught.value).splitlines()] == [
        "REPRISE_PORT",
        "REPRISE_TTL",
    ]


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"WORKERS": "2"}, ["REPRISE_WORKERS=2", "REPRISE_STORE"]),
        (
            {"WORKERS": "2", "STORE": "sqlite:///cache.db"},
            ["REPRISE_WORKERS=2", "REPRISE_STORE=sqlite:///cache.db"],
        ),
        (
            {"HOST": "0.0.0.0", "UPSTREAM_API_KEY": "sk-secret"},  # noqa: S104
            ["REPRISE_HOST=0.0.0.0", "REPRISE_UPSTREAM_API_KEY", "REPRISE_API_KEYS"],
        ),
        (
            {"HOST": "0.0.0.0", "ISOLATION": "shared"},  # noqa: S104
            ["REPRISE_ISOLATION=shared", "REPRISE_HOST=0.0.0.0", "REPRISE_API_KEYS"],
        ),
        (
            {"HOST": "0.0.0.0", "UPSTREAM_API_KEY_FILE": "/run/key"},  # noqa: S104
            ["REPRISE_HOST=0.0.0.0", "REPRISE_UPSTREAM_API_KEY_FILE", "REPRISE_API_KEYS"],
        ),
        (
            {"API_KEYS": "sk-secret", "API_KEYS_FILE": "/run/keys"},
            ["REPRISE_API_KEYS_FILE=/run/keys", "REPRISE_API_KEYS: set only one"],
        ),
        ({"ADMIN_HOST": "::1"}, ["REPRISE_ADMIN_HOST=::1", "REPRISE_ADMIN_PORT"]),
        ({"ADMIN_PORT": "8000"}, ["REPRISE_ADMIN_PORT=8000", "REPRISE_PORT=8000"]),
        (
            {"UPSTREAM_API_KEY": "sk-secret", "UPSTREAM_API_KEY_FILE": "/run/key"},
            ["REPRISE_UPSTREAM_API_KEY_FILE=/run/key", "REPRISE_UPSTREAM_API_KEY: set only one"],
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], named: list[str]
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(monkeypatch, **environment)
    assert all(name in str(caught.value) for name in named)
    assert len(str(caught.value).splitlines()) == 1
    assert "sk-secret" not in str(caught.value)


@pytest.mark.parametrize(
    "environment",
    [
        {"UPSTREAM_API_KEY": "sk"},
        {"HOST": "localhost", "ISOLATION": "shared"},
        {"HOST": "0.0.0.0", "UPSTREAM_API_KEY": "sk", "API_KEYS": "k"},  # noqa: S104
        {"HOST": "0.0.0.0", "ISOLATION": "shared", "API_KEYS": "k"},  # noqa: S104
        {"HOST": "0.0.0.0", "ISOLATION": "shared", "API_KEYS_FILE": "/run/keys"},  # noqa: S104
        {"HOST": "0.0.0.0"},  # noqa: S104
    ],
)
def test_settings_that_go_together_are_accepted(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    assert load(monkeypatch, **environment)


@pytest.mark.parametrize(
    ("embedder", "embeds_upstream"),
    [
        ("local", False),
        ("upstream", True),
        ("https://upstream.test/v1", True),
        ("https://UPSTREAM.test:443/embedding/v2/", True),
        ("http://upstream.test/v1", False),
        ("http://upstream.test:443/v1", False),
        ("https://upstream.test:8443/v1", False),
        ("https://api.upstream.test/v1", False),
        ("https://upstream.test.other/v1", False),
    ],
)
def test_the_embedder_is_the_upstream_if_it_is_at_the_same_origin_without_a_key_of_its_own(
    monkeypatch: pytest.MonkeyPatch, embedder: str, embeds_upstream: bool
) -> None:
    environment = {"UPSTREAM_URL": "https://upstream.test/v1", "EMBEDDER": embedder}
    assert load(monkeypatch, **environment).embeds_upstream is embeds_upstream
    assert not load(monkeypatch, EMBEDDER_API_KEY="k").embeds_upstream


def test_the_embedder_upstream_is_at_the_upstreams_url(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, UPSTREAM_URL="https://upstream.test/v1", EMBEDDER="upstream")
    assert settings.embedder_url == "https://upstream.test/v1"
    assert load(monkeypatch, EMBEDDER="http://a/v1/").embedder_url == "http://a/v1"


@pytest.mark.parametrize("name", ["UPSTREAM_URL", "EMBEDDER", "STORE"])
def test_a_password_in_a_url_is_not_shown(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    url = "https://user:sk-secret@host/v1"
    with pytest.raises(ConfigurationError, match=rf"REPRISE_{name}=\(hidden\)") as caught:
        load(monkeypatch, **{name: url})
    assert "sk-secret" not in str(caught.value)


def test_secrets_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = dict.fromkeys(
        ["UPSTREAM_API_KEY", "API_KEYS", "STORE_SECRET", "EMBEDDER_API_KEY"], "hush"
    )
    settings = load(monkeypatch, **secrets)
    assert "hush" not in repr(settings)
    assert "hush" not in str(settings)


def test_a_reranker_needs_a_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load(monkeypatch, VERIFIER_URL="http://reranker:8080/rerank/")
    told = "REPRISE_VERIFIER_URL=http://reranker:8080/rerank is not allowed without REPRISE_"
    assert str(refused.value).startswith(f"{told}VERIFIER_CALIBRATION: ")
    assert "\n" not in str(refused.value)
    settings = load(monkeypatch, VERIFIER_CALIBRATION="own.json")
    assert settings.verifier_url == "http://reranker:8080/rerank"
    assert load(monkeypatch, VERIFIER_CALIBRATION="", VERIFIER="off").verifier_url


def test_audits_need_a_key_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load(monkeypatch, AUDIT_RATE="0.1")
    assert str(refused.value) == (
        "REPRISE_AUDIT_RATE=0.1 is not allowed without REPRISE_UPSTREAM_API_KEY: no client's "
        "credential is used for audits; set that key, or set the rate to 0"
    )
    assert load(monkeypatch, UPSTREAM_API_KEY="sk-ours").audit_rate == 0.1
    with pytest.raises(
        ConfigurationError, match=r"AUDIT_RATE='1\.5' is not allowed: it must be a share"
    ):
        load(monkeypatch, AUDIT_RATE="1.5")
