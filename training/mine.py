"""Pairs mined with the embedder: the nearest questions of a stream that knows its right answers."""

import asyncio
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.inference.local_embedder import LocalEmbedder
from app.tools.jsonl import read_lines
from app.tools.memo import Memo
from training.pairs import Labelled, draw, plain

_NEAR = 0.35  # cosine distance, as far as two that have the same answer are paired
_LOOK_ALIKE = 0.5  # the same of two that have not
_NEIGHBOURS = 4
_CANDIDATES = 4  # as many as the proxy looks at
FAR = 0.3  # cosine distance; beyond it few of the same question are left
_ANSWERED = 0.15  # cosine distance; what has a neighbour as near is answered, not stored
_ASKED = 800  # questions of a stream: the last, which meet the fullest cache
LEARNT, CALIBRATED, REPORTED = (0.0, 0.5), (0.5, 0.75), (0.75, 1.0)  # shares of the answers

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Mine:
    """The questions of a stream in order, each once.

    `keys` name a question's answer, `tenants` who asks. `vectors` are unit length, or 0 where the
    embedder cannot represent the text.
    """

    source: str
    texts: Sequence[str]
    keys: Sequence[str]
    tenants: NDArray[np.str_]
    vectors: Floats

    def nearest_of_either(
        self, share: tuple[float, float], without: Collection[str]
    ) -> list[Labelled]:
        """Pair questions with the nearest of their answer and the nearest of other answers.

        Both are of a share of the answers, and not in `without`, texts as `plain` writes them.
        """
        own = np.array(self._of(share, without), dtype=int)
        keys = np.array(self.keys)
        found = []
        for at in own:
            distances = self._from(at, own)
            for flag, farthest in ((True, _NEAR), (False, _LOOK_ALIKE)):
                apart = np.where((keys[own] == keys[at]) == flag, distances, np.inf)
                nearest = np.argsort(apart)[:_NEIGHBOURS]
                found += [tuple(sorted((at, own[n]))) for n in nearest if apart[n] <= farthest]
        return self._labelled(found)

    def candidates(self, share: tuple[float, float], without: Collection[str]) -> list[Labelled]:
        """Pair questions of a share with the nearest that a cache would have: `a` is asked.

        It has met the whole stream and stored what had no near neighbour, whatever its share:
        with fewer answers in it, fewer would be wrong.
        """
        asked = set(self._of(share, without)[-_ASKED:])
        stored: list[int] = []
        found = []
        for at in range(len(self.texts)):
            distances = self._from(at, np.array(stored, dtype=int))
            if at in asked:
                nearest = np.argsort(distances)[:_CANDIDATES]
                found += [(at, stored[n]) for n in nearest if distances[n] <= FAR]
            if not (distances <= _ANSWERED).any():
                stored.append(at)
        return self._labelled(found)

    def held_back(self) -> list[str]:
        """Give the questions whose answers are not of the share that is learnt from."""
        return [self.texts[at] for at in self._of((LEARNT[1], 1.0), ())]

    def _of(self, share: tuple[float, float], without: Collection[str]) -> list[int]:
        low, high = share
        return [
            at
            for at, (text, key) in enumerate(zip(self.texts, self.keys, strict=True))
            if low <= draw(key) < high and plain(text) not in without
        ]

    def _from(self, at: int, others: NDArray[np.int_]) -> Floats:
        distances = 1.0 - self.vectors[others] @ self.vectors[at]
        apart = (others == at) | (self.tenants[others] != self.tenants[at])
        return np.where(apart, np.inf, distances).astype(np.float32)

    def _labelled(self, found: Iterable[tuple[int, ...]]) -> list[Labelled]:
        return [
            Labelled(
                self.texts[one], self.texts[other], self.keys[one] == self.keys[other], self.source
            )
            for one, other in dict.fromkeys(found)
            if plain(self.texts[one]) != plain(self.texts[other])
        ]


def open_mine(path: Path) -> Mine:
    """Read and embed a stream: `{"prompt", "answer_id"}`, or GPTCache's `{"origin", "similar"}`.

    A line may name its tenant, `ns`; nobody is answered from another's. Raises BadInput.
    """
    answers: dict[tuple[str, str], str] = {}
    for line in read_lines(path):
        tenant = line.text("ns") if "ns" in line.document else ""
        for name in ("origin", "similar") if "origin" in line.document else ("prompt",):
            answers.setdefault((tenant, line.text(name)), line.text("answer_id"))
    texts = [text for _, text in answers]
    return Mine(
        f"mined:{path.name.partition('.')[0]}",
        texts,
        list(answers.values()),
        np.array([tenant for tenant, _ in answers], dtype=np.str_),
        asyncio.run(embed(texts)),
    )


async def embed(texts: Sequence[str]) -> NDArray[np.float32]:
    """Embed texts with the embedder that ships: shape (texts, dimensions), unit length or 0."""
    embedder = LocalEmbedder()
    memo = Memo(embedder)
    await memo.learn(texts, lambda: None)
    found = [await memo.embed(text) for text in texts]
    await embedder.aclose()
    zero = np.zeros(embedder.dimensions, dtype=np.float32)
    return np.stack([zero if one is None else one for one in found])
