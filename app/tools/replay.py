"""`reprise replay`: sends requests through a proxy, and counts right and wrong hits."""

import asyncio
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Literal
from urllib.parse import quote

from app.adapters import adapters_for
from app.main import create_app
from app.server.uvicorn_server import serving
from app.settings import FixedSettings
from app.tools.client import Client, Reply
from app.tools.evaluate import Models, Scale
from app.tools.jsonl import Line, read_lines
from app.tools.memo import Lent, Memo
from app.tools.progress import Progress
from app.tools.statistics import Report, Row, Share, Table
from app.upstream.simulator import SimulatedUpstream

_ANY = 0.5  # the dial if none is given; it has no effect without a verifier
_PATIENT = 30.0  # seconds; a busy machine must not change the figures
Switch = Literal["on", "off"]
_STAGES: tuple[tuple[str, Switch], ...] = (("distance", "off"), ("guards", "on"))
_VERIFIED: tuple[tuple[str, Switch], ...] = (("verifier", "off"), ("all", "on"))
_COLUMNS = (
    "stage",
    "distance",
    "error_rate",
    "hit_rate",
    "wrong_among_hits",
    "ideal_hits_taken",
    "right_per_request",
)


@dataclass(frozen=True, slots=True)
class Plan:
    """A request to send, its right answer, and whether an ideal cache would have a hit."""

    prompt: str
    answer_id: str
    namespace: str
    is_ideal_hit: bool


@dataclass(frozen=True, slots=True)
class Stream:
    """The requests of one file: those that only fill the cache, then those that are counted."""

    file: str
    filling: Sequence[Plan]
    counted: Sequence[Plan]


@dataclass(frozen=True, slots=True)
class MayServe:
    """A rule for hits by meaning.

    A rule has a stage, the greatest cosine distance, and a switch for the guards. `error_rate` is
    the dial; if None, the verifier is not asked.
    """

    stage: str
    guards: Switch
    distance: float
    error_rate: float | None = None


@dataclass(slots=True)
class Desk:
    """Tells the simulated upstream what to answer to the current request."""

    answer_id: str = ""

    def answer(self, _: str) -> str:
        """Return the answer that `answer_id` was set to before the request."""
        return self.answer_id


@dataclass(slots=True)
class _Tally:
    """The outcomes of the counted requests.

    `right`: the number of hits with the right answer. `taken`: the number of such hits that an
    ideal cache would have, too. `hits`, `misses`: the latency of each hit or miss, in seconds.
    """

    right: int = 0
    taken: int = 0
    hits: list[float] = field(default_factory=list)
    misses: list[float] = field(default_factory=list)

    def add(self, question: Plan, reply: Reply) -> None:
        if not reply.is_hit:
            self.misses.append(reply.seconds)
            return
        self.hits.append(reply.seconds)
        is_right = reply.answer == question.answer_id
        self.right += is_right
        self.taken += is_right and question.is_ideal_hit


def read_stream(path: Path) -> Stream:
    """Read requests: `{"prompt", "answer_id"}`, or GPTCache's `{"origin", "similar", "answer_id"}`.

    In GPTCache's format, all `origin` texts fill the cache before any `similar` text is asked. A
    line may have `ns`, the name of its tenant. A line with a `prompt` may have `expect`, which is
    "hit" if an ideal cache has a hit. Without `expect`, an ideal cache has a hit if an earlier line
    of the same tenant has the same answer. Raises BadInput.
    """
    filling: list[Plan] = []
    counted: list[Plan] = []
    had: set[tuple[str, str]] = set()
    for line in read_lines(path):
        answer_id = line.text("answer_id")
        if not answer_id.strip():
            line.refuse('"answer_id" must not be blank')
        namespace = line.text("ns") if "ns" in line.document else ""
        if "origin" in line.document:
            filling.append(Plan(line.text("origin"), answer_id, namespace, False))
            counted.append(Plan(line.text("similar"), answer_id, namespace, True))
        else:
            is_ideal_hit = _expects_hit(line, (namespace, answer_id) in had)
            counted.append(Plan(line.text("prompt"), answer_id, namespace, is_ideal_hit))
        had.add((namespace, answer_id))
    return Stream(str(path), filling, counted)


def _expects_hit(line: Line, had: bool) -> bool:
    return line.text("expect") == "hit" if "expect" in line.document else had


def replay_stream(stream: Stream, scale: Scale, models: Models, progress: Progress) -> Report:
    """Send the requests through an empty proxy for each stage and threshold, and count the hits.

    Each text is embedded only once, before any request is sent, so latencies do not include
    embedding.
    """
    memo = Memo(models.embedder)
    shared = replace(models, embedder=memo)
    prompts = dict.fromkeys(q.prompt for q in (*stream.filling, *stream.counted))
    with progress(f"{stream.file}: embedding", len(prompts)) as advance:
        asyncio.run(memo.learn(prompts, advance))
    return Report(
        file=stream.file,
        counts={
            "requests": len(stream.counted),
            "ideal_hits": sum(question.is_ideal_hit for question in stream.counted),
        },
        figures=Table(
            _COLUMNS,
            [_row(stream, rule, shared, progress) for rule in _rules(scale, models)],
        ),
    )


def _rules(scale: Scale, models: Models) -> Iterator[MayServe]:
    for stage, guards in _STAGES:
        for distance in scale.distances:
            yield MayServe(stage, guards, distance)
    if models.verifier is not None:
        for stage, guards in _VERIFIED:
            for rate in scale.error_rates:
                yield MayServe(stage, guards, models.verifier.calibration.max_distance, rate)


def _row(stream: Stream, rule: MayServe, models: Models, progress: Progress) -> Row:
    tally = _Tally()
    steps = len(stream.filling) + len(stream.counted)
    with (
        progress(f"{stream.file}: {rule.stage}, {_threshold(rule)}", steps) as advance,
        proxied(steps, rule, models) as (client, desk),
    ):
        for question in stream.filling:
            # no-cache, so that the answer is stored whatever is in the cache already.
            ask(client, desk, question, {"Cache-Control": "no-cache"})
            advance()
        for question in stream.counted:
            tally.add(question, ask(client, desk, question, {}))
            advance()
    hits, requests = len(tally.hits), len(stream.counted)
    ideal = sum(question.is_ideal_hit for question in stream.counted)
    return {
        "stage": rule.stage,
        "distance": rule.distance,
        "error_rate": rule.error_rate,
        "hit_rate": Share(hits, requests),
        "wrong_among_hits": Share(hits - tally.right, hits),
        "ideal_hits_taken": Share(tally.taken, ideal),
        "right_per_request": Share(tally.right, requests),
        "hit_latency_ms": _median_ms(tally.hits),
        "miss_latency_ms": _median_ms(tally.misses),
    }


def _threshold(rule: MayServe) -> float:
    return rule.distance if rule.error_rate is None else rule.error_rate


@contextmanager
def proxied(entries: int, rule: MayServe, models: Models) -> Iterator[tuple[Client, Desk]]:
    """Run an empty proxy during the block. Yield its client, and the desk for its upstream.

    The desk tells the upstream what to answer. The proxy stores up to `entries` answers. The time
    of the proxy's clock never changes, so nothing expires.
    """
    now = time.time()
    settings = FixedSettings(
        upstream_url="simulated://",
        guards=rule.guards,
        verifier="off" if rule.error_rate is None else "on",
        max_distance=rule.distance,
        max_error_rate=rule.error_rate or _ANY,
        max_entries=entries,
        max_bytes=sys.maxsize,
        store_timeout=_PATIENT,
        embedder_timeout=_PATIENT,
        verifier_timeout=_PATIENT,
    )
    desk = Desk()
    verifier = Lent(models.verifier) if models.verifier else None
    adapters = replace(
        adapters_for(settings, embedder=models.embedder, verifier=verifier, clock=lambda: now),
        upstream=SimulatedUpstream(answer=desk.answer),
    )
    with serving(create_app(settings, adapters)) as url, Client(url) as client:
        yield client, desk


def ask(client: Client, desk: Desk, question: Plan, headers: dict[str, str]) -> Reply:
    """Send a question to the proxy. Raises RuntimeError if the proxy or a part of it fails."""
    desk.answer_id = question.answer_id
    if question.namespace:
        headers = {**headers, "Authorization": f"Bearer {quote(question.namespace)}"}
    reply = client.ask(question.prompt, headers)
    if "unavailable" in reply.cache_status:
        raise RuntimeError(f"a part of the cache failed: {reply.cache_status}")
    return reply


def _median_ms(seconds: Sequence[float]) -> float | None:
    return 1000 * median(seconds) if seconds else None
