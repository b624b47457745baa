"""Chooses which texts of a group are compared with each other."""

import itertools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from app.tools.evaluate import Pair
from app.tools.groups import Question
from app.tools.statistics import Floats

Two = tuple[Question, Question]
"""A pair: the stored question, and the asked question."""


def pairs_inside(stream: Sequence[Question]) -> Iterator[Two]:
    """Yield pairs (stored, asked) of texts of the same group. At least one of the two is a wording.

    Each pair of texts is yielded once. The stored text is the text that comes first in `stream`.
    A replay of `stream` uses the same order, so few pairs are verified in both orders.
    """
    for members in _members(stream):
        for stored, asked in itertools.combinations(members, 2):
            if stored.is_wording or asked.is_wording:
                yield stored, asked


def nearest_pairs(stream: Sequence[Question], vectors: Floats) -> Iterator[Two]:
    """Yield pairs (stored, asked). Half of the asked texts are wordings, and half are near misses.

    `stored` is the wording of the group that is nearest to `asked`, but not `asked` itself. If a
    group has more texts of one kind than of the other, some texts of the more frequent kind are not
    asked. `vectors` has the embedding of each question of `stream`, in order, as a row.
    """
    rows = {question.text: row for question, row in zip(stream, vectors, strict=True)}

    def nearest(asked: Question, wordings: Sequence[Question]) -> Question:
        others = [wording for wording in wordings if wording is not asked]
        return max(
            others,
            key=lambda other: float(np.nan_to_num(rows[other.text] @ rows[asked.text], nan=-2)),
        )

    for members in _members(stream):
        wordings = [question for question in members if question.is_wording]
        near = [question for question in members if not question.is_wording]
        if len(wordings) > 1:
            for asked in itertools.chain(*zip(wordings, near, strict=False)):
                yield nearest(asked, wordings), asked


def _members(stream: Sequence[Question]) -> Iterable[Sequence[Question]]:
    """Return the questions of each group, in the order in which they are asked."""
    members: dict[int, list[Question]] = {}
    for question in stream:
        members.setdefault(question.meaning[0], []).append(question)
    return members.values()


def as_pair(two: Two) -> Pair:
    """Return a stored and an asked question as a labelled pair."""
    stored, asked = two
    return Pair(stored.key, asked.key, stored.meaning == asked.meaning)
