"""`reprise rehearse`: replays a log through a proxy at the log's times, and counts the savings.

Nothing leaves the machine: the answers of the upstream come from the log, and the models run in
this process.
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
from app.tools.exchange import Exchange
from app.tools.memo import Lent, Memo, Remembered
from app.tools.progress import Progress
from app.tools.saved import Savings
from app.tools.traffic import Traffic
from app.upstream.prices import ListPrices, read_prices
from app.upstream.simulator import SimulatedResponse, SimulatedUpstream

_PATIENT = 30.0  # seconds; a busy machine must not change the figures
_NUMBER = b"x-request-id"  # not part of the key, but forwarded to the upstream
_SERVED = frozenset({"HIT", "STALE"})


@dataclass(frozen=True, slots=True)
class Terms:
    """Settings to try: the dial, and the freshness lifetime in seconds."""

    max_error_rate: float
    ttl: float


@dataclass(frozen=True, slots=True)
class Pair:
    """A hit for which the log has an answer to compare with.

    `asked`: the index of the exchange whose request was sent.
    `stored`: the index of the exchange whose answer was served.
    `distance`: the value of `x-cache-distance` (cosine); empty for an exact match.
    `agreement`: whether the served answer agrees with the answer that the log has for the request.
    """

    asked: int
    stored: int
    tier: Tier
    distance: str
    agreement: Agreement


@dataclass(slots=True)
class Outcome:
    """The results of replaying a log with some terms.

    `hits`: the number of hits by tier. `bypassed`: the number of requests that bypassed the cache,
    by reason. `saved`: what the hits would have saved, by model. `pairs`: the hits for which the
    log has an answer to compare with.
    """

    terms: Terms
    requests: int
    hits: Counter[Tier] = field(default_factory=Counter)
    bypassed: Counter[str] = field(default_factory=Counter)
    saved: dict[str, Savings] = field(default_factory=dict)
    pairs: list[Pair] = field(default_factory=list)

    def counted(self, tier: Tier) -> Mapping[Agreement, int]:
        """Return the number of compared hits of a tier, for each result of the comparison."""
        told = Counter(pair.agreement for pair in self.pairs if pair.tier is tier)
        return {agreement: told[agreement] for agreement in Agreement}


class LoggedUpstream:
    """An upstream that gives the log's answers, or simulated answers where the log has none.

    The header `x-request-id` of a request says to which exchange the request belongs. The order of
    the requests is not enough, because a revalidation may come after the next request.
    """

    def __init__(self, exchanges: Sequence[Exchange]) -> None:
        self._exchanges = exchanges
        self._otherwise = SimulatedUpstream()

    async def send(self, request: ClientRequest) -> SimulatedResponse:
        """Return the log's answer to a request."""
        exchange = self._exchanges[int(value_of(request.headers, _NUMBER) or 0)]
        if exchange.answer is None:
            return await self._otherwise.send(request)
        body = json.dumps(exchange.answer).encode()
        return SimulatedResponse(200, [(b"content-type", b"application/json")], [body])

    async def aclose(self) -> None:
        """Do nothing: there is nothing to close."""


class Rehearsal:
    """Replays a log several times, each time with other terms. Texts are embedded only once."""

    def __init__(self, traffic: Traffic, settings: Settings, models: Models) -> None:
        self._traffic = traffic
        self._settings = settings
        verifier = Remembered(models.verifier) if models.verifier else None
        self._models = Models(Memo(models.embedder), verifier)
        self._prices = ListPrices(settings.upstream_url, read_prices(settings.prices))
        self._compared: dict[tuple[int, int], Agreement] = {}

    def replay(self, terms: Terms, progress: Progress) -> Outcome:
        """Send all requests through an empty proxy, one after another, at the times in the log.

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
        """Send the request of the exchange with the index `number`, and count the outcome.

        `origin` maps the id of each entry to the index of the exchange from which its answer comes.
        """
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
        savings = outcome.saved.setdefault(exchange.model, Savings())
        savings.add(exchange, self._prices, is_stale=told["x-cache"] == "STALE")
        if exchange.answer is not None and "choices" in exchange.answer:
            stored = origin.get(entry, number)
            agreement = self._agreement(number, stored, exchange.answer, raw)
            outcome.pairs.append(Pair(number, stored, tier, distance or "", agreement))

    def _agreement(
        self, asked: int, stored: int, answer: Mapping[str, object], served: bytes
    ) -> Agreement:
        """Return whether a served answer agrees with the log's answer.

        `asked` and `stored` are indexes of exchanges. The result is cached for each pair of
        indexes.
        """
        if (known := self._compared.get((asked, stored))) is None:
            known = compare(said_in(served), said_in(json.dumps(answer).encode()))
            self._compared[asked, stored] = known
        return known

    def _settings_on(self, terms: Terms) -> Settings:
        """Return the operator's settings with `terms`, a simulated upstream and the default store.

        Apart from `terms`, the settings for sharing, limits and matching stay the same.
        """
        own = self._settings
        most = max(1, len(self._traffic.exchanges))
        changes = {
            name: type(own).model_fields[name].default
            for name in (
                *("host", "port", "workers", "upstream_api_key", "upstream_api_key_file"),
                *("anthropic_url", "anthropic_api_key", "api_keys", "api_keys_file", "store"),
                *("max_concurrent", "max_connections", "fleet_collapse_wait", "cors_origins"),
                *("traces", "audit_rate"),  # audits would make the dial stricter on the way
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
    """Raise BadInput if the settings name a remote model.

    A remote model would receive the questions in the log.
    """
    for name, elsewhere in (
        ("EMBEDDER", settings.embedder if settings.embedder != "local" else ""),
        ("VERIFIER_URL", settings.verifier_url if settings.verifier == "on" else ""),
    ):
        if elsewhere:
            raise BadInput(
                f"REPRISE_{name}={elsewhere} would receive the questions of the log, but a "
                "rehearsal sends nothing to others; use the models that ship with Reprise"
            )


@dataclass(slots=True)
class _LogClock:
    """A clock that always shows the time in `now`."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def _proxied(
    exchanges: Sequence[Exchange], settings: Settings, models: Models
) -> Iterator[tuple[Client, _LogClock]]:
    """Run an empty proxy whose upstream gives the log's answers.

    Yield a client of the proxy, and the proxy's clock.
    """
    clock = _LogClock(exchanges[0].at or 0.0)
    verifier = Lent(models.verifier) if models.verifier else None
    upstream: Upstream = LoggedUpstream(exchanges)
    adapters = replace(
        adapters_for(settings, embedder=models.embedder, verifier=verifier, clock=clock),
        upstream=upstream,
    )
    with serving(create_app(settings, adapters)) as url, Client(url) as client:
        yield client, clock
