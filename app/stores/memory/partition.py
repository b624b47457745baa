"""The embeddings of one partition, searched by numpy.

Rows live in blocks that are never moved or copied: each as large as all before it, up to a few
thousand rows, for most partitions are small. A removed row is filled with NaN, which is nearer to
nothing, and used again; a block without rows is let go.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from app.core.models import Embedding
from app.core.offload import Threads

_MOST_ROWS = 4096
_ROWS_WORTH_A_THREAD = 8192  # below, the products take less than a third of a millisecond


@dataclass(slots=True, eq=False)
class _Block:
    """Some rows: `matrix` has shape (rows, dimensions), `owners` and `since` an item a row."""

    matrix: NDArray[np.float32]
    owners: list[str | None] = field(default_factory=list)
    since: list[int] = field(default_factory=list)  # the change that wrote the row
    free: list[int] = field(default_factory=list)

    @property
    def alive(self) -> int:
        return len(self.owners) - len(self.free)

    @property
    def is_full(self) -> bool:
        return self.alive == len(self.matrix)


class Partition:
    """Embeddings by the digests of their entries."""

    def __init__(self, dimensions: int) -> None:
        self._dimensions = dimensions
        self._blocks: list[_Block] = []
        self._places: dict[str, tuple[_Block, int]] = {}
        self._changes = 0

    def __len__(self) -> int:
        return len(self._places)

    def add(self, digest: str, embedding: Embedding) -> None:
        """Add an embedding. Raises ValueError for one of another length."""
        if embedding.shape != (self._dimensions,):
            raise ValueError("the embedding has another shape")
        block = next((block for block in reversed(self._blocks) if not block.is_full), None)
        if block is None:
            block = self._new_block()
        if block.free:
            row = block.free.pop()
        else:
            row = len(block.owners)
            block.owners.append(None)
            block.since.append(0)
        self._changes += 1
        block.matrix[row] = embedding
        block.owners[row] = digest
        block.since[row] = self._changes
        self._places[digest] = (block, row)

    def _new_block(self) -> _Block:
        rows = min(max(1, len(self)), _MOST_ROWS)
        block = _Block(np.full((rows, self._dimensions), np.nan, np.float32))
        self._blocks.append(block)
        return block

    def remove(self, digest: str) -> None:
        """Remove an embedding, if it is there."""
        block, row = self._places.pop(digest, (None, 0))
        if block is None:
            return
        block.matrix[row] = np.nan
        block.owners[row] = None
        block.free.append(row)
        if not block.alive:
            self._blocks.remove(block)

    def get(self, digest: str) -> Embedding | None:
        """Return an embedding, or None."""
        block, row = self._places.get(digest, (None, 0))
        return None if block is None else block.matrix[row].copy()

    async def search(
        self, embedding: Embedding, k: int, threads: Threads
    ) -> list[tuple[str, float]]:
        """Return the digests of the `k` nearest embeddings with their distances, nearest first.

        Many rows are searched in a thread. A row that is written meanwhile is left out: its
        distance may be another text's. Raises Overloaded.
        """
        if embedding.shape != (self._dimensions,):
            raise ValueError("the embedding has another shape")
        begin = self._changes
        blocks = [(block, block.matrix[: len(block.owners)]) for block in self._blocks]
        if len(self) < _ROWS_WORTH_A_THREAD:
            nearest = _nearest(blocks, embedding, k)
        else:
            nearest = await threads.run(lambda: _nearest(blocks, embedding, k))
        return [
            (owner, distance)
            for block, row, distance in nearest
            if (owner := block.owners[row]) and block.since[row] <= begin
        ]


def _nearest(
    blocks: list[tuple[_Block, NDArray[np.float32]]], embedding: Embedding, k: int
) -> list[tuple[_Block, int, float]]:
    found: list[tuple[float, int, _Block, int]] = []
    for order, (block, matrix) in enumerate(blocks):
        distances = 1.0 - matrix @ embedding
        rows = np.argpartition(distances, k)[:k] if k < len(distances) else range(len(distances))
        found += [(float(distances[row]), order, block, int(row)) for row in rows]
    alive = [item for item in found if not np.isnan(item[0])]
    alive.sort(key=lambda item: (item[0], item[1], item[3]))
    return [(block, row, distance) for distance, _, block, row in alive[:k]]
