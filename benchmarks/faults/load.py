"""Clients that send requests all the time, and the results of the requests."""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

import httpx
import numpy as np

from benchmarks.faults.world import name_of

PRIMED = 40  # names that are asked for before anything is measured
_WORDINGS = ("What does the word {} mean?", "Can you explain what the word {} means?")
_NEW = 0.3  # the share of requests for a name that nobody has asked for
_PAUSE = 0.1  # seconds between an answer and the next request of a client
_PATIENCE = 5.0  # seconds
_SLOWEST = 99  # percentile


@dataclass(frozen=True, slots=True)
class Sample:
    """One request: its start, its duration in seconds, and its result."""

    at: float
    seconds: float
    is_answered: bool
    is_wrong: bool
    is_known: bool
    is_hit: bool
    failure: str = ""  # the status or the error of a request that was not answered


@dataclass(frozen=True, slots=True)
class Figures:
    """The results of the requests in a period; `p99` is in seconds."""

    requests: int
    failed: int
    wrong: int
    hits: int
    p99: float


class Load:
    """Clients of a proxy. Each has its own connection and sends one request at a time."""

    def __init__(self, url: str, seed: int = 0, key: str = "") -> None:
        self.samples: list[Sample] = []
        self._url = url
        self._headers = {"authorization": f"Bearer {key}"} if key else {}
        self._draw = random.Random(seed)  # noqa: S311 - no secret
        self._new = PRIMED

    def client(self) -> httpx.AsyncClient:
        """Return a client with its own connection."""
        return httpx.AsyncClient(
            base_url=self._url, headers=self._headers, timeout=_PATIENCE, trust_env=False
        )

    async def prime(self) -> None:
        """Ask for the known names, so that their answers are stored."""
        async with self.client() as client:
            for number in range(PRIMED):
                await self._ask(client, number, _WORDINGS[0])
        if not all(sample.is_answered for sample in self.samples):
            raise RuntimeError("the proxy does not answer")
        self.samples.clear()

    async def run(self, clients: int) -> None:
        """Send requests with `clients` clients until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(clients):
                tasks.create_task(self._go_on())

    async def _go_on(self) -> None:
        async with self.client() as client:
            while True:
                is_new = self._draw.random() < _NEW
                number = self.new() if is_new else self._draw.randrange(PRIMED)
                await self._ask(client, number, self._draw.choice(_WORDINGS))
                await asyncio.sleep(_PAUSE)

    def new(self) -> int:
        """Return a new number. No client has asked for the name of this number."""
        self._new += 1
        return self._new

    async def is_served(self, client: httpx.AsyncClient) -> bool:
        """Whether everything works: no part is down, and a new question asked twice gets a hit."""
        number = self.new()
        try:
            ready = await client.get("/readyz")
            asked = [await self._ask(client, number, _WORDINGS[0]) for _ in range(2)]
        except httpx.HTTPError:
            return False
        return not ready.json()["degraded"] and asked[-1].is_hit

    async def _ask(self, client: httpx.AsyncClient, number: int, wording: str) -> Sample:
        name = name_of(number)
        message = {"role": "user", "content": wording.format(name)}
        begin = time.monotonic()
        is_answered = is_wrong = is_hit = False
        failure = ""
        try:
            response = await client.post(
                "/v1/chat/completions", json={"model": "m", "messages": [message]}
            )
            is_answered = response.is_success
            is_wrong = is_answered and name not in response.text
            is_hit = response.headers.get("x-cache") == "HIT"
            failure = "" if is_answered else f"{response.status_code}"
        except httpx.HTTPError as error:
            failure = type(error).__name__
        seconds = time.monotonic() - begin
        is_known = number < PRIMED
        sample = Sample(begin, seconds, is_answered, is_wrong, is_known, is_hit, failure)
        self.samples.append(sample)
        return sample


def figures(samples: Sequence[Sample], begin: float, end: float, *, known_only: bool) -> Figures:
    """Sum up the requests that began between `begin` and `end`.

    With `known_only`, count only requests for the names that `prime` asked for.
    """
    some = [s for s in samples if begin <= s.at < end and (s.is_known or not known_only)]
    answered = [s.seconds for s in some if s.is_answered]
    return Figures(
        requests=len(some),
        failed=sum(not s.is_answered for s in some),
        wrong=sum(s.is_wrong for s in some),
        hits=sum(s.is_hit for s in some),
        p99=float(np.percentile(answered, _SLOWEST)) if answered else float("nan"),
    )
