"""An explanation of a request agrees with what happens when the request is made."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.core.cache_status import CacheStatus, Outcome
from app.core.errors import NotCached
from app.core.models import Header
from app.engine.explain import Explanation
from app.engine.resilient_store import judged
from app.rules.modes import Mode
from tests.asking import Ask, body_of
from tests.bench import Bench, read, settle
from tests.fakes import FakeResponse, FakeVerifier, ManualClock, completion, embedding_of

ANN: Header = (b"authorization", b"Bearer sk-ann")
BOB: Header = (b"authorization", b"Bearer sk-bob")
ONLY: Header = (b"cache-control", b"only-if-cached")
NO_CACHE: Header = (b"cache-control", b"no-cache")


async def fail() -> None:
    raise RuntimeError


@dataclass(frozen=True)
class Wait:
    """A step: some seconds pass."""

    seconds: float


@dataclass(frozen=True)
class Blame:
    """A step: somebody reports a stored answer as wrong, if there is one.

    The answers are numbered from the oldest.
    """

    place: int


@dataclass(frozen=True)
class Turn:
    """A step: from now on, these parts of the cache fail, and all others work."""

    failing: frozenset[str]


PARTS = ("store", "embedder", "verifier")
TEXTS = [
    "valkey what",
    "valkey is what",
    "valkey can scale",
    "valkey can not scale",
    "valkey in version 7",
    "valkey in version 8",
    "valkey unseen",
    "Observation: valkey",
    "pasta how",
    " ",
]
HISTORY = [{"role": "user", "content": "a"}, {"role": "tool", "content": "b"}]
FIELDS: list[dict[str, Any]] = [
    *({"stream": True}, {"temperature": 0.5}, {"user": "ann"}, {"messages": HISTORY}),
    *({"temperature": 1.5}, {"store": True}, {"n": "x"}),
]
DIRECTIVES = [
    *("max-age=30", "min-fresh=30", "no-cache", "no-store", "only-if-cached"),
    *("no-cache, only-if-cached", "max-age=0, only-if-cached", "no-store, only-if-cached"),
    *("max-stale", "max-stale=10", "max-stale=10, max-age=65", "max-stale, only-if-cached"),
    *("stale-if-error=30", "only-if-cached, min-fresh=1"),
]
OURS: list[Header] = [
    *((b"x-cache-tags", tags) for tags in (b"a", b"b", b"a, b")),
    *((b"x-cache-max-distance", most) for most in (b"0", b"0.01", b"2", b"?")),
    *((b"x-cache-ttl", ttl) for ttl in (b"0", b"20", b"90")),
    (b"x-cache-tier", b"exact"),
]


def mostly(usual: Any, *others: Any) -> st.SearchStrategy[Any]:
    """Return a strategy that gives `usual` more often than all others together."""
    return st.sampled_from([usual] * (2 * len(others)) + [*others])


BODIES = st.builds(
    lambda text, fields, broken: broken or body_of(text, **fields),
    st.sampled_from(TEXTS),
    mostly({}, *FIELDS),
    mostly(b"", b"", b"", b"", b"{", b'{"n":1,"n":2}'),
)
HEADERS = st.builds(
    lambda *lines: tuple(line for line in lines if line),
    mostly(ANN, BOB),
    mostly(None, None, None, (b"x-cache-namespace", b"a")),
    mostly(None, *((b"cache-control", said.encode()) for said in DIRECTIVES)),
    mostly(None, *OURS),
    mostly(None, *OURS),
)
STEPS = st.one_of(
    *[st.builds(Ask, BODIES, HEADERS) for _ in range(6)],
    *[st.builds(Wait, st.sampled_from([1.0, 30.0, 31.0, 60.0, 75.0])) for _ in range(2)],
    st.builds(Blame, st.integers(0, 3)),
    st.builds(Turn, mostly(frozenset(), *(frozenset({part}) for part in PARTS))),
)


@dataclass
class World:
    """A cache over fakes. Its answers live for a minute, may be verified, and may be served stale.

    `windows` are those of `stale_while_revalidate` and `stale_if_error`, in seconds.
    """

    verified: bool
    windows: tuple[float, float] = (0.0, 0.0)
    mode: Mode = Mode.SERVE
    verifier: FakeVerifier = field(default_factory=FakeVerifier)
    part_clock: ManualClock = field(default_factory=ManualClock)

    def __post_init__(self) -> None:
        self.verifier.answer = lambda text: 0.5 if "is" in text else 0.95
        verifier = self.verifier if self.verified else None
        patient: dict[str, Any] = {
            "store_timeout": 60.0,
            "embedder_timeout": 60.0,
        }  # however busy the machine is
        stale: dict[str, Any] = dict(
            zip(("stale_while_revalidate", "stale_if_error"), self.windows, strict=True)
        )
        self.bench = Bench(
            verifier=verifier,
            part_clock=self.part_clock,
            mode=self.mode,
            ttl=60.0,
            **patient,
            **stale,
        )
        answer = json.dumps(completion()).encode()
        self.bench.upstream.answer = lambda _: FakeResponse([answer])
        self.bench.embedder.answer = lambda t: None if "unseen" in t else embedding_of(t)

    def wait(self, seconds: float) -> None:
        self.bench.clock.advance(seconds)
        self.part_clock.advance(seconds)

    async def blame(self, place: int) -> None:
        entries = (await self.bench.store.memory.scan("", 100)).entries
        for stored in entries[place : place + 1]:
            await judged(self.bench.store.memory, stored.id, correct=False)

    def turn(self, failing: frozenset[str]) -> None:
        parts: tuple[Any, ...] = (self.bench.store, self.bench.embedder, self.verifier)
        for name, part in zip(PARTS, parts, strict=True):
            part.before = fail if name in failing else None

    def traces(self) -> Any:
        """Return all that a request can change: counts, writes, number of upstream requests.

        Durations and failures of the parts are left out.
        """
        bench = self.bench
        families = ("requests", "collapsed", "refusals", "stored", "not_stored", "evictions")
        counted = [
            (sample.name, sample.labels, sample.value)
            for name in families
            for family in getattr(bench.metrics, name).collect()
            for sample in family.samples
            if not sample.name.endswith("_created")
        ]
        writes = [call for call in bench.store.calls if call not in {"get", "nearest", "scan"}]
        return counted, writes, len(bench.upstream.requests)

    async def happens(self, ask: Ask) -> CacheStatus | None:
        try:
            head, _ = await read(await self.bench.send(ask.body, *ask.headers))
        except NotCached:
            return None
        await settle()
        # What a hit saves is added up when it is served, and not explained.
        return replace(head.cache_status, saved=None)


def check_reasons(told: Explanation) -> None:
    """Check that an explanation does not contradict itself."""
    status = told.status
    judged = [*(told.nearest or ()), *([told.exact] if told.exact else [])]
    answering = [one for one in judged if one.answers]
    is_hit = status is not None and status.outcome in {Outcome.HIT, Outcome.STALE}
    assert len(answering) == (1 if is_hit else 0)
    assert all(one.refused_by is None for one in answering)
    if not is_hit and not told.failures:
        assert all(one.refused_by is not None for one in judged)
    assert (told.key is None) is (told.bypass is not None)
    if status is not None and status.outcome is Outcome.BYPASS:
        assert status.detail == told.bypass
    if status is not None and status.outcome is Outcome.MISS and status.detail:
        assert status.detail in told.failures


async def live(
    steps: Sequence[Any], verified: bool, windows: tuple[float, float], mode: Mode
) -> None:
    world = World(verified, windows, mode)
    for step in steps:
        match step:
            case Wait(seconds):
                world.wait(seconds)
            case Blame(place):
                await world.blame(place)
            case Turn(failing):
                world.turn(failing)
            case Ask(body, headers):
                before = world.traces()
                told = await world.bench.explain(body, *headers)
                again = await world.bench.explain(body, *headers)
                assert world.traces() == before
                assert again.status == told.status
                check_reasons(told)
                assert await world.happens(step) == told.status
    await world.bench.aclose()


WINDOWS = st.sampled_from([(0.0, 0.0), (30.0, 0.0), (0.0, 30.0), (30.0, 90.0)])
NONE = (0.0, 0.0)
MODES = mostly(Mode.SERVE, Mode.SERVE_EXACT, Mode.SHADOW)


@settings(max_examples=100, deadline=None)
@given(st.lists(STEPS, min_size=6, max_size=20), st.booleans(), WINDOWS, MODES)
@example([Ask(body_of("valkey what")), Ask(body_of("valkey is what"))], False, NONE, Mode.SERVE)
@example(
    [Ask(body_of("valkey can scale")), Ask(body_of("valkey can not scale"))],
    False,
    NONE,
    Mode.SERVE,
)
@example([Ask(body_of("valkey is what")), Ask(body_of("valkey what"))], True, NONE, Mode.SERVE)
@example([Ask(body_of()), Wait(60), Ask(body_of())], False, NONE, Mode.SERVE)
@example(
    [Ask(body_of()), Wait(75), Ask(body_of()), Ask(body_of("valkey is what"))],
    False,
    (30, 0),
    Mode.SERVE,
)
@example(
    [Ask(body_of()), Blame(0), Ask(body_of("valkey")), Ask(body_of())], False, (30, 30), Mode.SERVE
)
@example(
    [Ask(body_of()), Turn(frozenset({"verifier"})), Ask(body_of("valkey"))], True, NONE, Mode.SERVE
)
@example([Ask(body_of()), Ask(body_of(), (ONLY,))], False, NONE, Mode.SHADOW)
@example([Ask(body_of()), Ask(body_of("valkey is what"), (ONLY,))], False, NONE, Mode.SERVE_EXACT)
@example([Ask(body_of("valkey what")), Ask(body_of("valkey is what"))], False, NONE, Mode.SHADOW)
@example([Ask(body_of()), Wait(75), Ask(body_of()), Ask(body_of())], False, (30, 0), Mode.SHADOW)
@example([Ask(body_of()), Ask(body_of("valkey is what"))], False, NONE, Mode.SERVE_EXACT)
@example([Turn(frozenset({"store"})), Ask(body_of(), (NO_CACHE,))], False, NONE, Mode.SERVE)
def test_what_is_explained_is_what_the_next_request_gets(
    steps: Sequence[Any], verified: bool, windows: tuple[float, float], mode: Mode
) -> None:
    asyncio.run(live(steps, verified, windows, mode))
