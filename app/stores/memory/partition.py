"""The embeddings of one partition, searched by numpy.

Embeddings are rows of blocks. Since most partitions are small, each new block is only as large as
all earlier blocks together, and at most 4 MiB. A removed row is filled with NaN, so that no search
finds it. The row is free for a later embedding. When a block has few rows left, its rows move to
other blocks and the block is freed.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from app.core.models import Embedding
from app.core.offload import Threads

_LARGEST_BLOCK = 4_194_304  # bytes
_FEW = 4  # a block is freed when at most a quarter of its rows are left
_ROWS_WORTH_A_THREAD = 8192  # fewer rows are searched in less than a third of a millisecond


@dataclass(slots=True, eq=False)
class _Block:
    """A block of rows: `matrix` has shape (rows, dimensions).

    `owners[row]` is the digest of the row's entry, or None for a removed row. A partition numbers
    its changes: `since[row]` is the number of the change that wrote the row. `free` lists the
    indexes of removed rows.
    """

    matrix: NDArray[np.float32]
    owners: list[str | None] = field(default_factory=list)
    since: list[int] = field(default_factory=list)
    free: list[int] = field(default_factory=list)
    is_left: bool = False  # its rows have moved to other blocks

    @property
    def alive(self) -> int:
        return len(self.owners) - len(self.free)

    @property
    def is_full(self) -> bool:
        return self.alive == len(self.matrix)


class Partition:
    """The embeddings of one partition. Each is added, found and removed by its entry's digest."""

    def __init__(self, dimensions: int) -> None:
        self._dimensions = dimensions
        self._blocks: list[_Block] = []
        self._places: dict[str, tuple[_Block, int]] = {}
        self._changes = 0

    def __len__(self) -> int:
        return len(self._places)

    def add(self, digest: str, embedding: Embedding) -> None:
        """Add the embedding of the entry `digest`. Raises ValueError if its shape is wrong."""
        if embedding.shape != (self._dimensions,):
            raise ValueError("the embedding has an unexpected shape")
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
        most = max(1, _LARGEST_BLOCK // (4 * self._dimensions))
        rows = min(max(1, len(self)), most)
        # empty(), so that the system allocates memory only for the rows that are used.
        block = _Block(np.empty((rows, self._dimensions), np.float32))
        self._blocks.append(block)
        return block

    def remove(self, digest: str) -> None:
        """Remove the embedding of the entry `digest`, if there is one."""
        block, row = self._places.pop(digest, (None, 0))
        if block is None:
            return
        block.matrix[row] = np.nan
        block.owners[row] = None
        block.free.append(row)
        if block.alive * _FEW <= len(block.owners):
            self._let_go(block)

    def _let_go(self, block: _Block) -> None:
        """Free a block: move its remaining rows to other blocks."""
        self._blocks.remove(block)
        block.is_left = True  # running searches still read the block, which does not change
        left = [(row, owner) for row, owner in enumerate(block.owners) if owner]
        for _, owner in left:
            del self._places[owner]
        for row, owner in left:
            self.add(owner, block.matrix[row])

    def get(self, digest: str) -> Embedding | None:
        """Return a copy of the embedding of the entry `digest`, or None if there is none."""
        block, row = self._places.get(digest, (None, 0))
        return None if block is None else block.matrix[row].copy()

    async def search(
        self, embedding: Embedding, k: int, threads: Threads
    ) -> list[tuple[str, float]]:
        """Return the `k` or fewer pairs (digest, distance) nearest to `embedding`, nearest first.

        Large partitions are searched in a thread. A row that is written during the search is left
        out, because its distance may have been computed from the row's previous embedding. Raises
        Overloaded if too many searches wait for a thread, and ValueError if the shape of
        `embedding` is wrong.
        """
        if embedding.shape != (self._dimensions,):
            raise ValueError("the embedding has an unexpected shape")
        begin = self._changes
        blocks = [(block, block.matrix[: len(block.owners)]) for block in self._blocks]
        if len(self) < _ROWS_WORTH_A_THREAD:
            nearest = _nearest(blocks, embedding, k)
        else:
            nearest = await threads.run(lambda: _nearest(blocks, embedding, k))
        return [
            (owner, distance)
            for block, row, distance in nearest
            if (owner := block.owners[row])
            and block.since[row] <= begin
            and (not block.is_left or self._is_at_home(owner, block.matrix[row]))
        ]

    def _is_at_home(self, digest: str, row: NDArray[np.float32]) -> bool:
        """Whether the partition still has an embedding of the entry `digest` that equals `row`."""
        block, place = self._places.get(digest, (None, 0))
        return block is not None and np.array_equal(block.matrix[place], row)


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
