"""Reads the settings and refuses invalid ones. The error has one line for each mistake.

Each line describes the allowed values.
"""

import difflib
import logging
import os
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import ValidationError

from app.api.middleware import is_loopback
from app.api.paths import CACHED
from app.core.errors import ConfigurationError
from app.core.toml_file import read_toml
from app.rules.key import Isolation
from app.rules.routing import Rule
from app.rules.rule_file import rules_of
from app.settings import Settings
from app.stores.valkey.url import masked
from app.variables import PREFIX, RETIRED

_logger = logging.getLogger("reprise")
_OPENAIS = re.compile(r"(?:.*\.)?openai\.(?:azure\.)?com")


def load_settings(**overrides: Any) -> Settings:
    """Return the settings from the environment and `.env`.

    `overrides` take precedence over the environment and `.env`. Raises ConfigurationError with one
    line for each invalid setting.
    """
    try:
        settings = Settings(**overrides)
    except ValidationError as error:
        raise ConfigurationError("\n".join(_lines(error))) from None
    check(settings)
    return settings


def _lines(error: ValidationError) -> list[str]:
    lines = []
    for name in dict.fromkeys(str(problem["loc"][0]) for problem in error.errors()):
        field = Settings.model_fields[name]
        extra = field.json_schema_extra
        allowed = extra["allowed"] if isinstance(extra, dict) else ""
        value = next(p["input"] for p in error.errors() if p["loc"][0] == name)
        # A URL may contain a password.
        hidden = "Secret" in repr(field) or "@" in str(value)
        shown = "(hidden)" if hidden else masked(repr(value))
        lines.append(f"{PREFIX}{name.upper()}={shown} is not allowed: it must be {allowed}")
    return lines


def check(settings: Settings) -> None:
    """Raise ConfigurationError if settings contradict each other."""
    local = is_loopback(settings.host)
    if settings.workers > 1 and not settings.is_shared:
        raise ConfigurationError(
            f"{PREFIX}WORKERS={settings.workers} is not allowed with {PREFIX}STORE="
            f"{settings.store}: workers cannot share that store; set it to 1, or use a Valkey"
        )
    if settings.min_ttl > settings.max_ttl:
        raise ConfigurationError(
            f"{PREFIX}MIN_TTL={settings.min_ttl:g} is not allowed with {PREFIX}MAX_TTL="
            f"{settings.max_ttl:g}: it must not be greater"
        )
    if settings.our_key and not settings.asks_for_keys and not local:
        raise ConfigurationError(
            f"{PREFIX}HOST={settings.host} is not allowed with {PREFIX}{settings.our_key} and no "
            f"{PREFIX}API_KEYS: anyone could use the key; set {PREFIX}API_KEYS, or listen on "
            "127.0.0.1, ::1 or localhost"
        )
    if settings.audit_rate and not (
        settings.upstream_api_key.get_secret_value() or settings.upstream_api_key_file
    ):
        raise ConfigurationError(
            f"{PREFIX}AUDIT_RATE={settings.audit_rate:g} is not allowed without {PREFIX}"
            "UPSTREAM_API_KEY: no client's credential is used for audits; set that key, or set "
            "the rate to 0"
        )
    check_verifier(settings)
    load_rules(settings)
    _check_key_files(settings)
    _check_admin_listener(settings)
    host = urlsplit(settings.anthropic_upstream).hostname or ""
    if settings.anthropic_api_key.get_secret_value() and _OPENAIS.fullmatch(host):
        raise ConfigurationError(
            f"{PREFIX}ANTHROPIC_URL={settings.anthropic_url} is not allowed with {PREFIX}"
            f"ANTHROPIC_API_KEY: the key would be sent to {host}; set the URL to "
            "https://api.anthropic.com"
        )
    if settings.isolation is Isolation.SHARED and not settings.asks_for_keys and not local:
        raise ConfigurationError(
            f"{PREFIX}ISOLATION=shared is not allowed with {PREFIX}HOST={settings.host} and no "
            f"{PREFIX}API_KEYS: anyone could read all answers; set {PREFIX}API_KEYS, or set the "
            "isolation to user or credential"
        )


def _check_admin_listener(settings: Settings) -> None:
    """Raise ConfigurationError if the operators' listener has no port of its own."""
    if settings.admin_host and not settings.admin_port:
        raise ConfigurationError(
            f"{PREFIX}ADMIN_HOST={settings.admin_host} is not allowed without {PREFIX}ADMIN_PORT: "
            "set both, or only the port"
        )
    if settings.admin_port == settings.port:
        raise ConfigurationError(
            f"{PREFIX}ADMIN_PORT={settings.admin_port} is not allowed with {PREFIX}PORT="
            f"{settings.port}: choose another port"
        )


def _check_key_files(settings: Settings) -> None:
    """Raise ConfigurationError if the same keys are set both as a value and as a file."""
    given = {
        "UPSTREAM_API_KEY": (
            settings.upstream_api_key.get_secret_value(),
            settings.upstream_api_key_file,
        ),
        "API_KEYS": (settings.api_keys, settings.api_keys_file),
    }
    for name, (value, path) in given.items():
        if value and path:
            raise ConfigurationError(
                f"{PREFIX}{name}_FILE={path} is not allowed with {PREFIX}{name}: set only one"
            )


def check_verifier(settings: Settings) -> None:
    """Raise ConfigurationError if there is a rerank endpoint but no calibration for it."""
    if settings.verifier_url and settings.verifier == "on" and not settings.verifier_calibration:
        raise ConfigurationError(
            f"{PREFIX}VERIFIER_URL={settings.verifier_url} is not allowed without {PREFIX}"
            "VERIFIER_CALIBRATION: a reranker's scores are not probabilities; make that file with "
            "`reprise calibrate`"
        )


def load_rules(settings: Settings) -> Sequence[Rule]:
    """Return the rules in the policy file. If the settings name no policy file, there are no rules.

    Raises ConfigurationError if the file or a rule is invalid. The message names the invalid part.
    """
    if not settings.policy:
        return ()
    file = f"{PREFIX}POLICY={settings.policy}"
    rules = rules_of(read_toml(settings.policy, file), file, CACHED)
    for number, rule in enumerate(rules, 1):
        if rule.max_error_rate is not None:
            _check_dial(settings, f'{file}: rule {number} ("{rule.name}")', rule.max_error_rate)
    return rules


def _check_dial(settings: Settings, rule: str, rate: float) -> None:
    """Raise ConfigurationError if a rule's dial has no effect, or is above the settings' dial.

    `rule` is the description of the rule in the error message. `rate` is the rule's dial.
    """
    if settings.verifier == "off":
        raise ConfigurationError(
            f"{rule}: max_error_rate = {rate:g} is not allowed with {PREFIX}VERIFIER=off: only the "
            "verifier can keep to it; set max_distance instead"
        )
    if rate > settings.max_error_rate:
        raise ConfigurationError(
            f"{rule}: max_error_rate = {rate:g} is not allowed with {PREFIX}MAX_ERROR_RATE="
            f"{settings.max_error_rate:g}: it must not be greater, because callers can choose "
            "which rule applies to them"
        )


def warn_of_unknown_settings() -> None:
    """Log a warning for each `REPRISE_…` variable that is not a setting.

    If the name is similar to that of a setting, the warning suggests that setting.
    """
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    for name in sorted({*os.environ, *dotenv_values(".env")}):
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            if told := RETIRED.get(name.upper().removeprefix(PREFIX)):
                _logger.warning("%s is no longer a setting and is ignored: %s", name, told)
                continue
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.85)
            hint = f"; did you mean {close[0]}?" if close else ""
            _logger.warning("%s is not a setting and is ignored%s", name, hint)
