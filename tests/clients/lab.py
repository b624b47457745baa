"""Lets a client perform all acts, without the proxy and with it, and judges the results."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.clients.asked import SLOWLY
from tests.clients.catalog import Client
from tests.clients.environments import NotInstalled, install, version_of
from tests.clients.processes import ADMIN_TOKEN, Script, proxy, script
from tests.clients.upstream import LabUpstream
from tests.servers import Exchange, upstream_of

INSTALL = "How do I install Valkey on Debian?"
REWORDED = "How can I install Valkey on Debian?"
# Each act and its question, which must not be time-bound. Acts that are cached come first.
ASKED = {
    "chat": INSTALL,
    "stream": "Which port does Valkey listen on?",
    "tools": "Look up Paris.",
    "structured": "Describe Paris.",
    "embeddings": "Valkey is a store of keys and values.",
    "errors": "Fail with status-400, please.",
    "cancel": f"{SLOWLY} a story.",
}
# A further question of Responses clients, whose answer the upstream is asked not to store: only
# such answers hit by meaning.
UNSTORED = "unstored"
CACHED = ("chat", "stream", "tools", "structured", "embeddings")
COLUMNS = (*ASKED, "exact hit", "hit by meaning")
FINE = ("ok", "-", "direct")
_ADMIN = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
_HANG_UP_S = 5

Told = dict[str, Any]


@dataclass(frozen=True)
class Act:
    """The result of an act: from the client, from the upstream, and from the proxy's counters.

    `first` is the number of the act's first request among all requests to the upstream.
    """

    told: Told
    exchanges: Sequence[Exchange]
    counted: dict[str, int] = field(default_factory=dict)
    left: bool = False
    first: int = 0

    @property
    def summary(self) -> Told:
        seen = [
            {"path": e.path.decode(), "body": json.loads(e.body or b"null")} for e in self.exchanges
        ]
        return {**self.told, "upstream": seen, "counted": self.counted, "left": self.left}


@dataclass
class Row:
    """A row of the table; `details` explain its cells."""

    client: str
    version: str = ""
    cells: dict[str, str] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def faults(self) -> dict[str, str]:
        """Return the cells of the acts that work without the proxy but not with it."""
        return {
            column: cell
            for column, cell in self.cells.items()
            if cell not in FINE and column in ASKED
        }


class Bench:
    """A client's script, the upstream, and the proxy between them if there is one."""

    def __init__(self, upstream: LabUpstream, client: Script, proxy_url: str = "") -> None:
        self._upstream = upstream
        self._client = client
        self._proxy_url = proxy_url

    async def act(self, name: str, question: str) -> Act:
        before, counted = len(self._upstream.exchanges), await self._counts()
        self._upstream.left.clear()
        told = await self._client.act(name, question)
        left = name == "cancel" and "value" in told and await self._is_left()
        after = await self._counts()
        gained = {key: after[key] - counted[key] for key in after if after[key] != counted[key]}
        return Act(told, self._upstream.exchanges[before:], gained, left, before + 1)

    async def _is_left(self) -> bool:
        try:
            await asyncio.wait_for(self._upstream.left.wait(), _HANG_UP_S)
        except TimeoutError:
            return False
        return True

    async def _counts(self) -> dict[str, int]:
        if not self._proxy_url:
            return {}
        counts: dict[str, int] = (await self._admin("GET", "stats"))["requests"]
        return counts

    async def why(self, act: Act) -> str:
        """Return why an act's last request got no hit, regardless of the entry that it stored."""
        (*_, exchange) = act.exchanges
        headers = {name.decode(): value.decode() for name, value in exchange.headers}
        asked = {"request": exchange.document, "headers": headers, "route": exchange.path.decode()}
        told = await self._admin("POST", "explain", asked)
        if told["bypass"]:
            return f"bypass, {told['bypass']}"
        if told["unavailable"]:
            return ", ".join(told["unavailable"])
        own = told["key"]["id"]  # stored meanwhile
        if others := [near for near in told["nearest"] if near["id"] != own]:
            return f"{others[0]['refused_by']}, {others[0]['distance']} apart"
        return "differs in " + ", ".join((told["elsewhere"] or {}).get("differs", ["what?"]))

    async def _admin(self, method: str, route: str, document: object = None) -> Told:
        url = f"{self._proxy_url.removesuffix('/v1')}/cache/{route}"
        async with httpx.AsyncClient(timeout=60) as client:
            told: Told = (await client.request(method, url, headers=_ADMIN, json=document)).json()
        return told


async def examine(client: Client, folder: Path) -> Row:
    """Fill the row of a client."""
    try:
        command = await asyncio.to_thread(install, client)
    except NotInstalled:
        return Row(client.name, "not installed")
    row = Row(client.name, version_of(client))
    asked, anew = ASKED, ["chat"]
    if client.api == "responses":
        asked, anew = {**ASKED, UNSTORED: INSTALL}, ["chat", UNSTORED]
    upstream, log = LabUpstream(), list[str]()
    async with upstream_of(upstream) as upstream_url:
        async with script(command, upstream_url, client) as plain:
            direct = await _all(Bench(upstream, plain), ASKED)
        async with proxy(upstream_url, folder, log) as url:
            async with script(command, url, client) as first:
                missed = await _all(Bench(upstream, first, url), asked)
            # Another process, because a client may choose random values once per run.
            async with script(command, url, client) as second:
                bench = Bench(upstream, second, url)
                again = await _all(bench, {name: ASKED[name] for name in CACHED})
                reworded = {name: await bench.act(name, REWORDED) for name in anew}
                near = reworded[anew[-1]]
                why = await bench.why(near) if near.exchanges else ""
    row.cells = {name: judge(name, direct[name], missed[name]) for name in ASKED}
    repeated = [name for name in CACHED if row.cells[name] == "ok"]
    row.cells["exact hit"] = _together({n: repeat(missed[n], again[n]) for n in repeated})
    row.cells["hit by meaning"] = meant(reworded, why) if row.cells["chat"] == "ok" else "-"
    phases = {"direct": direct, "missed": missed, "again": again, "near": reworded}
    row.details = {
        phase: {name: act.summary for name, act in acts.items()} for phase, acts in phases.items()
    }
    row.details["proxy"] = log
    return row


async def _all(bench: Bench, asked: dict[str, str]) -> dict[str, Act]:
    return {name: await bench.act(name, question) for name, question in asked.items()}


def judge(name: str, direct: Act, proxied: Act) -> str:
    """Return the cell of an act: the proxy must not change anything that a client can see."""
    if "absent" in direct.told:
        return "-"
    if not works(name, direct):
        return "direct"
    if not works(name, proxied):
        return _reason(proxied.told)
    if name == "errors" and direct.told != proxied.told:
        return f"differs: {json.dumps(proxied.told)[:80]}"
    if len(direct.exchanges) != len(proxied.exchanges):
        return f"{len(proxied.exchanges)} requests upstream, not {len(direct.exchanges)}"
    return "ok"


def works(name: str, act: Act) -> bool:
    """Whether a client has really done what the act is for."""
    if name == "errors":
        return "lab says 400" in json.dumps(act.told.get("error"))
    if "value" not in act.told:
        return False
    value = act.told["value"]
    match name:
        case "cancel":
            return act.left
        case "embeddings":
            return isinstance(value, list) and len(value) == 4
        case "structured":
            return bool(value == {"city": "Paris", "degrees": 21})
        case "tools":
            return "Paris" in value
        case "stream":
            return value["pieces"] > 1 and bool(value["text"])
    return bool(value)


def repeat(missed: Act, again: Act) -> str:
    """Return the cell of the repeated act: it must get the first answer without the upstream."""
    if again.exchanges:
        return _difference(missed.exchanges, again.exchanges) + _counted(again)
    if said(missed) != said(again):
        return f"differs: {json.dumps(again.told)[:80]}"
    return "ok"


def said(act: Act) -> object:
    """Return what a client read from an answer, regardless of the number of pieces."""
    value = act.told.get("value")
    return value["text"] if isinstance(value, dict) and "pieces" in value else act.told


def meant(reworded: dict[str, Act], why: str) -> str:
    """Return the cell of the first question in other words.

    It must hit if the upstream was asked not to store the answer, and must miss otherwise.
    """
    *stored, near = reworded.values()
    if "value" not in near.told:
        return _reason(near.told)
    if near.exchanges:
        return f"miss: {why}"
    if any(not act.exchanges for act in stored):
        return "found, though the upstream stores it"
    return "`store: false`" if stored else "ok"


def _together(cells: dict[str, str]) -> str:
    bad = {name: cell for name, cell in cells.items() if cell != "ok"}
    if not bad:
        return "ok" if cells else "-"
    return "; ".join(f"{name}: {cell}" for name, cell in bad.items())


def _counted(act: Act) -> str:
    return f" ({', '.join(sorted(act.counted))})" if act.counted else ""


def _reason(told: Told) -> str:
    error = told.get("error") or {"type": "wrong", "message": json.dumps(told)}
    return f"{error['type']}: {error['message'][:80]}"


def _difference(first: Sequence[Exchange], second: Sequence[Exchange]) -> str:
    """Return the members of the bodies and the headers that two runs do not have in common."""
    for one, other in zip(first, second, strict=False):
        asked, again = one.document, other.document
        names = {n for n in asked.keys() | again.keys() if asked.get(n) != again.get(n)}
        if not names:
            names = {name.decode() for name, _ in set(one.headers) ^ set(other.headers)}
        if names:
            return f"{', '.join(sorted(names))} differ"
    return f"{len(second)} requests upstream"


def table(rows: Sequence[Row]) -> str:
    """Write rows as a table of Markdown."""
    lines = [["client", "version", *COLUMNS], ["---"] * (len(COLUMNS) + 2)]
    for row in rows:
        cells = [row.cells.get(column, "") for column in COLUMNS]
        lines.append([row.client, row.version, *(cell.replace("|", "\\|") for cell in cells)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
