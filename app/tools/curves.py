"""Curves of the stages of matching: the greatest recall for each allowed share of wrong answers."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby


@dataclass(frozen=True, slots=True)
class Curve:
    """The greatest recall for each allowed share of wrong answers.

    `points`: pairs (share, recall), both from 0 to 1 and both rising.
    """

    name: str
    points: Sequence[tuple[float, float]]


def curve(name: str, ranked: Iterable[tuple[float, bool]], positives: int) -> Curve:
    """Return the curve of a stage. At each point, the stage serves all answers up to some rank.

    `ranked` has a pair for each answer: the rank, and whether the answer is right. The lowest rank
    is served first, and answers of the same rank are served together. `positives` is the number of
    all right answers, including those that are not in `ranked`.
    """
    reached: list[tuple[float, float]] = []
    right = wrong = 0
    for _, alike in groupby(sorted(ranked), key=lambda pair: pair[0]):
        for _, is_right in alike:
            right += is_right
            wrong += not is_right
        reached.append((wrong / (right + wrong), right / positives if positives else 0.0))
    points: list[tuple[float, float]] = []
    for share, recall in sorted(reached, key=lambda point: (point[0], -point[1])):
        if not points or recall > points[-1][1]:
            points.append((share, recall))
    return Curve(name, points)


def csv_of(files: Iterable[tuple[str, Sequence[Curve]]]) -> str:
    """Return curves as CSV (RFC 4180) with the columns file, stage, wrong_share and recall.

    `files` has pairs: the name of a file, and the curves for that file.
    """
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(("file", "stage", "wrong_share", "recall"))
    for file, curves in files:
        for drawn in curves:
            rows.writerows((file, drawn.name, f"{x:.6f}", f"{y:.6f}") for x, y in drawn.points)
    return text.getvalue()
