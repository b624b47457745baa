"""What is learnt from groups: which two texts are shown together, and whether they ask the same."""

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.tools.groups import Group

LEARNT = Path(__file__).parent / "clean" / "learn.jsonl.gz"
"""The groups that are learnt from; beside them lie those that a calibration is made of."""

_POOL = 50  # batches that are sorted by length together
_NEAR = 0.35  # cosine similarity of texts of other groups that are worth telling apart
_RELATED = 0.75  # cosine similarity of texts whose groups may ask the same
_NEIGHBOURS = 8  # of each text
# What is drawn for each group in each pass. More groups teach more than more pairs of a group.
_SAME = 6  # pairs of wordings
_DIFFERENT = 8  # pairs of a wording and a near miss
_WORDINGS = 2  # that each near miss is shown with at most
_NEAR_PAIRS = 1  # pairs of near misses
_MINED = 1  # pairs with neighbours
_STRANGERS = 0.3  # pairs with a text of any other group

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two texts, and whether one answer serves both."""

    one: str
    other: str
    same: bool


def texts_of(group: Group) -> Sequence[str]:
    """Return the wordings, then the near misses."""
    return [*group.wordings, *group.near]


def mine(groups: Sequence[Group], vectors: Vectors) -> Sequence[Sequence[Pair]]:
    """Return for each group its texts with the nearest of other groups.

    `vectors` are embeddings, of unit length: of all `texts_of` each group, one after another. Two
    groups that have very near texts are not mined from each other, since they may ask the same.
    """
    texts = [text for group in groups for text in texts_of(group)]
    owner = np.repeat(np.arange(len(groups)), [len(texts_of(group)) for group in groups])
    related = np.zeros((len(groups), len(groups)), bool)
    for begin in range(0, len(texts), 1000):
        rows, columns = np.nonzero(vectors[begin : begin + 1000] @ vectors.T > _RELATED)
        related[owner[begin + rows], owner[columns]] = True
    mined: list[list[Pair]] = [[] for _ in groups]
    for begin in range(0, len(texts), 1000):
        near = vectors[begin : begin + 1000] @ vectors.T
        near[related[owner[begin : begin + 1000]][:, owner]] = -1.0
        nearest = np.argsort(-near, axis=1)[:, :_NEIGHBOURS]
        for row, columns in enumerate(nearest.tolist()):
            text, own = texts[begin + row], mined[owner[begin + row]]
            own += [Pair(text, texts[c], same=False) for c in columns if near[row, c] > _NEAR]
    return mined


def epoch(
    groups: Sequence[Group], mined: Sequence[Sequence[Pair]], size: int, seed: int
) -> Sequence[Sequence[Pair]]:
    """Return the batches of one pass over all groups, each of `size` pairs of about one length."""
    draw = random.Random(seed)
    pairs = [
        pair
        for group, neighbours in zip(groups, mined, strict=True)
        for pair in (*_inside(group, draw), *_some(neighbours, _MINED, draw))
    ]
    pairs += [_strangers(groups, draw) for _ in range(round(_STRANGERS * len(groups)))]
    pairs = [_either_way(pair, draw) for pair in pairs]
    draw.shuffle(pairs)
    batches: list[Sequence[Pair]] = []
    for begin in range(0, len(pairs), size * _POOL):
        pool = pairs[begin : begin + size * _POOL]
        pool.sort(key=lambda pair: len(pair.one) + len(pair.other) + 15 * draw.random())
        batches += [pool[at : at + size] for at in range(0, len(pool), size)]
    draw.shuffle(batches)
    return batches


def _inside(group: Group, draw: random.Random) -> Sequence[Pair]:
    """Return some pairs of wordings, of wordings and near misses, and of near misses."""
    same = [Pair(*two, same=True) for two in itertools.combinations(group.wordings, 2)]
    different: list[Pair] = []
    for miss in group.near:
        among = [Pair(wording, miss, same=False) for wording in group.wordings]
        different += _some(among, _WORDINGS, draw)
    between = [Pair(*two, same=False) for two in itertools.combinations(group.near, 2)]
    return [
        *_some(same, _SAME, draw),
        *_some(different, _DIFFERENT, draw),
        *_some(between, _NEAR_PAIRS, draw),
    ]


def _strangers(groups: Sequence[Group], draw: random.Random) -> Pair:
    one, other = draw.sample(groups, 2)
    return Pair(draw.choice(one.wordings), draw.choice(other.wordings), same=False)


def _some(pairs: Sequence[Pair], count: int, draw: random.Random) -> Sequence[Pair]:
    return draw.sample(pairs, min(count, len(pairs)))


def _either_way(pair: Pair, draw: random.Random) -> Pair:
    return Pair(pair.other, pair.one, pair.same) if draw.random() < 0.5 else pair
