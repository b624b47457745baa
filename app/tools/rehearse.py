"""`reprise rehearse`: a log through the whole proxy, in its own time, and what that would save.

Nothing leaves the machine: the upstream answers from the log, models run in this process.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from urllib.parse import quote

from app.adapters import adapters_for
from app.core.cache_status import Tier
from app.core.errors import BadInput
from app.core.models import ClientRequest
from app.core.ports import Upstream
from app.dialects.said import said_in
from app.main import create_app
from app.matching.comparison import Agreement, compare
from app.rules.headers import value_of
from app.rules.modes import Mode
from app.server.uvicorn_server import serving
from app.settings import Settings
from app.tools.client import Client
from app.tools.evaluate import Models
from app.tools.memo import Lent, Memo, Remembered
from app.tools.progress import Progress
from app.tools.traffic import Exchange, Traffic
from app.upstream.simulator import SimulatedResponse, SimulatedUpstream

_PATIENT = 30.0  # seconds; a busy machine must not change the figures
_NUMBER = b"x-request-id"  # it takes no part in the key, and goes upstream
_SERVED = frozenset({"HIT", "STALE"})


@dataclass(frozen=True, slots=True)
class Terms:
    """Settings to try: the dial, and seconds that an answer stays fresh."""

    max_error_rate: float
    ttl: float


@dataclass(frozen=True, slots=True)
class Pair:
    """An answer that was served in place of one that the log has; both as numbers of exchanges.

    `distance` is cosine, as the header has it; empty for an exact match.
    """

    asked: int
    stored: int
    tier: Tier
    distance: str
    agreement: Agreement


@dataclass(slots=True)
class Outcome:
    """What became of the exchanges of a log on some terms.

    `hits` are counted by tier, `bypassed` by reason. `seconds` is what the answers that were served
    took in the log. `tokens`, by model, are what went in and came out of them. `pairs` are those
    hits of which the log has an answer to compare with.
    """

    terms: Terms
    requests: int
    hits: Counter[Tier] = field(default_factory=Counter)
    bypassed: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    tokens: dict[str, tuple[int, int]] = field(default_factory=dict)
    pairs: list[Pair] = field(default_factory=list)

    def counted(self, tier: Tier) -> Mapping[Agreement, int]:
        """Return how many hits of a tier agree with the log's own answer, differ, or neither."""
        told = Counter(pair.agreement for pair in self.pairs if pair.tier is tier)
        return {agreement: told[agreement] for agreement in Agreement}

    def save(self, exchange: Exchange) -> None:
        """Count what an exchange need not have cost."""
        self.seconds += exchange.seconds or 0.0
        asked, told = self.tokens.get(exchange.model, (0, 0))
        more_asked, more_told = exchange.tokens
        self.tokens[exchange.model] = (asked + more_asked, told + more_told)


class LoggedUpstream:
    """An upstream that answers as the log says, and else makes something up.

    Requests are told apart by their `x-request-id`: a revalidation may overtake the next request.
    """

    def __init__(self, exchanges: Sequence[Exchange]) -> None:
        self._exchanges = exchanges
        self._otherwise = SimulatedUpstream()

    async def send(self, request: ClientRequest) -> SimulatedResponse:
        """Answer a request of the log."""
        exchange = self._exchanges[int(value_of(request.headers, _NUMBER) or 0)]
        if exchange.answer is None:
            return await self._otherwise.send(request)
        body = json.dumps(exchange.answer).encode()
        return SimulatedResponse(200, [(b"content-type", b"application/json")], [body])

    async def aclose(self) -> None:
        """Do nothing."""


class Rehearsal:
    """A log that is replayed again and again, each time on other terms. Texts are embedded once."""

    def __init__(self, traffic: Traffic, settings: Settings, models: Models) -> None:
        self._traffic = traffic
        self._settings = settings
        verifier = Remembered(models.verifier) if models.verifier else None
        self._models = Models(Memo(models.embedder), verifier)
        self._compared: dict[tuple[int, int], Agreement] = {}

    def replay(self, terms: Terms, progress: Progress) -> Outcome:
        """Send all exchanges through an empty proxy, one after the other, at the log's times.

        Raises RuntimeError if the proxy or a part of it fails.
        """
        exchanges = self._traffic.exchanges
        outcome = Outcome(terms, len(exchanges))
        origin: dict[str, int] = {}
        label = f"dial {terms.max_error_rate:g}, TTL {terms.ttl:g} s"
        with (
            progress(label, len(exchanges)) as advance,
            _proxied(exchanges, self._settings_on(terms), self._models) as (client, clock),
        ):
            for number, exchange in enumerate(exchanges):
                clock.now = exchange.at or 0.0
                self._send(client, number, outcome, origin)
                advance()
        return outcome

    def _send(self, client: Client, number: int, outcome: Outcome, origin: dict[str, int]) -> None:
        """Send an exchange; `origin` tells which one an entry was stored by."""
        exchange = self._traffic.exchanges[number]
        headers = {_NUMBER.decode(): str(number)}
        if exchange.caller:
            headers["Authorization"] = f"Bearer {quote(exchange.caller)}"
        if exchange.namespace:
            headers["x-cache-namespace"] = quote(exchange.namespace)
        told, raw = client.post(exchange.path, json.dumps(exchange.body).encode(), headers)
        status, entry = told["cache-status"], told["x-cache-entry"] or ""
        if "unavailable" in status:
            raise RuntimeError(f"a part of the cache failed: {status}")
        if told["x-cache"] == "BYPASS":
            outcome.bypassed[status.rpartition("detail=")[2]] += 1
        if told["x-cache"] not in _SERVED:
            origin[entry] = number
            return
        distance = told["x-cache-distance"]
        tier = Tier.EXACT if distance is None else Tier.SEMANTIC
        outcome.hits[tier] += 1
        outcome.save(exchange)
        if exchange.answer is not None and "choices" in exchange.answer:
            stored = origin.get(entry, number)
            agreement = self._agreement(number, stored, exchange.answer, raw)
            outcome.pairs.append(Pair(number, stored, tier, distance or "", agreement))

    def _agreement(
        self, asked: int, stored: int, answer: Mapping[str, object], served: bytes
    ) -> Agreement:
        """Compare what was served with what the log says, once for each two exchanges."""
        if (known := self._compared.get((asked, stored))) is None:
            known = compare(said_in(served), said_in(json.dumps(answer).encode()))
            self._compared[asked, stored] = known
        return known

    def _settings_on(self, terms: Terms) -> Settings:
        """Return the operator's settings on some terms, with all that would leave the machine off.

        Whatever shares answers, what limits them and what matches them stays.
        """
        own = self._settings
        most = max(1, len(self._traffic.exchanges))
        changes = {
            name: type(own).model_fields[name].default
            for name in (
                *("host", "port", "workers", "upstream_api_key", "upstream_api_key_file"),
                *("anthropic_url", "anthropic_api_key", "api_keys", "api_keys_file", "store"),
                *("max_concurrent", "max_connections", "fleet_collapse_wait", "cors_origins"),
                "traces",
            )
        }
        changes |= {
            "upstream_url": "simulated://",
            "mode": Mode.SERVE,
            "max_entries": most if own.is_shared else own.max_entries,
            "store_timeout": _PATIENT,
            "embedder_timeout": _PATIENT,
            "verifier_timeout": _PATIENT,
            "max_error_rate": terms.max_error_rate,
            "ttl": terms.ttl,
        }
        return own.model_copy(update=changes)


def refuse_to_send(settings: Settings) -> None:
    """Raise BadInput if a model that the settings name would be sent the log's questions."""
    for name, elsewhere in (
        ("EMBEDDER", settings.embedder if settings.embedder != "local" else ""),
        ("VERIFIER_URL", settings.verifier_url if settings.verifier == "on" else ""),
    ):
        if elsewhere:
            raise BadInput(
                f"REPRISE_{name}={elsewhere} would be sent the questions of the log: rehearse "
                "with the models that ship"
            )


@dataclass(slots=True)
class _LogClock:
    """A clock that stands still until it is set."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def _proxied(
    exchanges: Sequence[Exchange], settings: Settings, models: Models
) -> Iterator[tuple[Client, _LogClock]]:
    """Run an empty proxy whose clock is set by hand and whose upstream is the log."""
    clock = _LogClock(exchanges[0].at or 0.0)
    verifier = Lent(models.verifier) if models.verifier else None
    upstream: Upstream = LoggedUpstream(exchanges)
    adapters = replace(
        adapters_for(settings, embedder=models.embedder, verifier=verifier, clock=clock),
        upstream=upstream,
    )
    with serving(create_app(settings, adapters)) as url, Client(url) as client:
        yield client, clock
