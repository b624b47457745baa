"""Settings: the environment variables, and values derived from them."""

from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from app.api.middleware import is_loopback
from app.rules import setting_values as values
from app.rules.key import Isolation
from app.stores.valkey.url import masked
from app.variables import Variables


class Settings(Variables):
    """All settings of a deployment, and values derived from them."""

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
        """Whether the upstream is the simulated one."""
        return values.SIMULATED.fullmatch(self.upstream_url) is not None

    @property
    def simulated_delay(self) -> float:
        """The simulated upstream's delay, in seconds."""
        match = values.SIMULATED.fullmatch(self.upstream_url)
        return int(match[1] or 0) / 1000 if match else 0.0

    @property
    def operators_host(self) -> str:
        """The address of the operators' listener, if there is one."""
        return self.admin_host or "127.0.0.1"

    @property
    def asks_for_keys(self) -> bool:
        """Whether clients must send one of the keys in `api_keys` or `api_keys_file`."""
        return bool(self.api_keys or self.api_keys_file)

    @property
    def keeps_credentials(self) -> bool:
        """Whether the client's own credential is sent to the upstream."""
        has_key = self.upstream_api_key.get_secret_value() or self.upstream_api_key_file
        return not self.asks_for_keys and not has_key

    @property
    def anthropic_upstream(self) -> str:
        """The base URL for Anthropic's API; empty if the upstream serves it, with the same key."""
        if self.anthropic_url:
            return f"{self.anthropic_url.removesuffix('/v1')}/v1"
        has_key = bool(self.anthropic_api_key.get_secret_value())
        return self.upstream_url if has_key and not self.is_simulated else ""

    @property
    def is_anthropic_elsewhere(self) -> bool:
        """Whether requests for Anthropic's API go to another server than the upstream."""
        url = self.anthropic_upstream
        return bool(url) and values.origin_of(url) != values.origin_of(self.upstream_url)

    @property
    def keeps_anthropic_credentials(self) -> bool:
        """Whether the client's own credential is sent with requests for Anthropic's API."""
        if not self.anthropic_upstream:
            return self.keeps_credentials
        return not self.asks_for_keys and not self.anthropic_api_key.get_secret_value()

    @property
    def embedder_url(self) -> str:
        """The base URL of a remote embedder."""
        return self.upstream_url if self.embedder == "upstream" else self.embedder

    @property
    def embeds_upstream(self) -> bool:
        """Whether the embedder is on the upstream's server and has no key of its own.

        Only then may it be sent the same credential as the upstream: our key or the client's.
        """
        if self.embedder == "local" or self.embedder_api_key.get_secret_value():
            return False
        return values.origin_of(self.embedder_url) == values.origin_of(self.upstream_url)

    @property
    def lets_strangers_in(self) -> bool:
        """Whether clients on other machines can use the proxy without a key."""
        return not self.asks_for_keys and not is_loopback(self.host)

    @property
    def embeds_as_caller(self) -> bool:
        """Whether the client's own credential is sent to the embedder."""
        return self.embeds_upstream and self.keeps_credentials

    @property
    def guards_origin(self) -> bool:
        """Whether web pages must be refused: they could use our key or all callers' answers."""
        is_valuable = bool(self.our_key) or self.isolation is Isolation.SHARED
        return is_valuable and not self.asks_for_keys

    @property
    def our_key(self) -> str | None:
        """The name of the setting with a key that is sent in place of the client's, or None."""
        named = {
            "UPSTREAM_API_KEY": self.upstream_api_key.get_secret_value(),
            "UPSTREAM_API_KEY_FILE": self.upstream_api_key_file,
            "ANTHROPIC_API_KEY": self.anthropic_api_key.get_secret_value(),
        }
        return next((name for name, value in named.items() if value), None)


class FixedSettings(Settings):
    """Settings given by code only: neither the environment nor a file is read."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Use only the arguments of the constructor."""
        return (init_settings,)
