"""Labelled pairs of questions, and their split: no text is on both sides of it."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from app.tools.jsonl import read_lines

_SMALL = 500  # pairs; of smaller files half is held back, else a figure would rest on a handful
_SHARE = 0.15
_IGNORED = re.compile(r"\W+")


@dataclass(frozen=True, slots=True)
class Labelled:
    """Two questions, whether one answer serves both, and where they are from.

    `group` names what must stay on one side of the split beside the texts; empty for nothing.
    """

    a: str
    b: str
    same: bool
    source: str
    group: str = ""


@dataclass(frozen=True, slots=True)
class Split:
    """Pairs to learn from, to calibrate on and to report on; no text is in two of them."""

    train: Sequence[Labelled]
    calibration: Sequence[Labelled]
    report: Sequence[Labelled]


def read_pairs(paths: Iterable[Path]) -> list[Labelled]:
    """Read `{"a", "b", "same"}`; a line may name a `group` of its own. Raises BadInput."""
    return [pair for path in paths for pair in _read(path)]


def _read(path: Path) -> Iterator[Labelled]:
    source = path.name.partition(".")[0]
    for line in read_lines(path):
        same, kind = line.document.get("same"), str(line.document.get("kind", ""))
        if same not in (0, 1):
            line.refuse('"same" must be 0 or 1, false or true')
        # The pairs of a template differ in little but names: to see one is to see them all.
        group = str(line.document.get("group", kind if kind.startswith("tmpl:") else ""))
        yield Labelled(line.text("a"), line.text("b"), bool(same), source, group)


def plain(text: str) -> str:
    """Give what two texts are compared by: without case, white space and punctuation."""
    return _IGNORED.sub("", text.casefold())


class Components:
    """Which texts hang together through pairs."""

    def __init__(self) -> None:
        self._parents: dict[str, str] = {}

    def find(self, name: str) -> str:
        """Give the component's representative."""
        self._parents.setdefault(name, name)
        while (parent := self._parents[name]) != name:
            self._parents[name] = name = self._parents[parent]
        return name

    def join(self, one: str, other: str) -> None:
        """Put two into one component."""
        first, second = sorted((self.find(one), self.find(other)))
        self._parents[second] = first


def split(pairs: Sequence[Labelled]) -> Split:
    """Hold back a part of the pairs, by component of texts. The same pairs split the same way."""
    components = Components()
    sizes: dict[str, int] = {}
    for pair in pairs:
        components.join(plain(pair.a), plain(pair.b))
        if pair.group:
            components.join(plain(pair.a), f"group: {pair.group}")
        sizes[pair.source] = sizes.get(pair.source, 0) + 1
    shares = {source: 0.5 if size < _SMALL else _SHARE for source, size in sizes.items()}
    parts: tuple[list[Labelled], list[Labelled], list[Labelled]] = ([], [], [])
    highest: dict[str, float] = {}
    for pair in pairs:
        root = components.find(plain(pair.a))
        highest[root] = max(highest.get(root, 0.0), shares[pair.source])
    for pair in pairs:
        root = components.find(plain(pair.a))
        place = draw(root)
        part = 0 if place >= highest[root] else 1 if place < highest[root] / 2 else 2
        parts[part].append(pair)
    return Split(*parts)


def draw(name: str) -> float:
    """Give a number from 0 to 1 that depends on the name alone."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest()) / 2**64
