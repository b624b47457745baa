"""Pairs mined with the embedder: the nearest questions of a stream that knows its right answers."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.embedders.local import LocalEmbedder
from app.jsonl import read_lines
from app.memo import Memo
from training.pairs import Labelled, draw, plain

_NEAR = 0.35  # cosine distance, as far as two that have the same answer are paired
_LOOK_ALIKE = 0.5  # the same of two that have not
_NEIGHBOURS = 2
_CANDIDATES = 4  # as many as the proxy looks at
FAR = 0.3  # cosine distance; beyond it few of the same question are left
_ASKED = 700  # questions of a stream; more would only repeat themselves
LEARNT, CALIBRATED, REPORTED = (0.0, 0.5), (0.5, 0.75), (0.75, 1.0)  # shares of the answers


@dataclass(frozen=True, slots=True)
class Mine:
    """The questions of a stream whose answers are of one share, without those on `other_side`.

    `vectors` are unit length, or 0 where the embedder cannot represent the text.
    """

    source: str
    texts: Sequence[str]
    answers: NDArray[np.str_]
    vectors: NDArray[np.float32]

    def nearest_of_either(self) -> list[Labelled]:
        """Pair every question with the nearest of its answer and the nearest of other answers."""
        found = []
        for at in range(len(self.texts)):
            distances, same = self._from(at)
            for flag, farthest in ((True, _NEAR), (False, _LOOK_ALIKE)):
                apart = np.where(same == flag, distances, np.inf)
                nearest = np.argsort(apart)[:_NEIGHBOURS]
                found += [(at, int(near)) for near in nearest if apart[near] <= farthest]
        return self._labelled(found)

    def candidates(self) -> list[Labelled]:
        """Pair questions with their nearest ones, whatever their answers: as a cache would."""
        found = []
        for at in range(min(_ASKED, len(self.texts))):
            distances, _ = self._from(at)
            nearest = np.argsort(distances)[:_CANDIDATES]
            found += [(at, int(near)) for near in nearest if distances[near] <= FAR]
        return self._labelled(found)

    def _from(self, at: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        distances = 1.0 - self.vectors @ self.vectors[at]
        distances[at] = np.inf
        return distances, self.answers == self.answers[at]

    def _labelled(self, found: Sequence[tuple[int, int]]) -> list[Labelled]:
        pairs = dict.fromkeys((min(pair), max(pair)) for pair in found)
        return [
            Labelled(
                self.texts[one],
                self.texts[other],
                bool(self.answers[one] == self.answers[other]),
                self.source,
            )
            for one, other in pairs
            if plain(self.texts[one]) != plain(self.texts[other])
        ]


def open_mine(path: Path, share: tuple[float, float], other_side: Collection[str]) -> Mine:
    """Read and embed a stream's questions whose answers are of a share, without some texts.

    `other_side` holds texts as `plain` writes them. Raises BadInput.
    """
    low, high = share
    answers: dict[str, str] = {}
    for line in read_lines(path):
        prompt, answer = line.text("prompt"), line.text("answer_id")
        if low <= draw(answer) < high and plain(prompt) not in other_side:
            answers[prompt] = answer
    texts = list(answers)
    source = f"mined:{path.name.partition('.')[0]}"
    vectors = asyncio.run(embed(texts))
    return Mine(source, texts, np.array(list(answers.values()), dtype=np.str_), vectors)


async def embed(texts: Sequence[str]) -> NDArray[np.float32]:
    """Embed texts with the embedder that ships: shape (texts, dimensions), unit length or 0."""
    embedder = LocalEmbedder()
    memo = Memo(embedder)
    await memo.learn(texts, lambda: None)
    found = [await memo.embed(text) for text in texts]
    await embedder.aclose()
    zero = np.zeros(embedder.dimensions, dtype=np.float32)
    return np.stack([zero if one is None else one for one in found])
