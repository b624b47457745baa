"""What each stage can reach, drawn as SVG: recall against the share of wrong answers served."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from xml.sax.saxutils import escape

_WIDTH, _HEIGHT = 480, 320  # of a panel, in pixels, and so are the next
_LEFT, _TOP, _RIGHT, _BOTTOM = 52, 48, 20, 44
_WORST = 0.25  # the share of wrong answers at the right edge
_STEPS = 5  # of either axis
_COLOURS = ("#999999", "#e69f00", "#56b4e9", "#0072b2")  # told apart by those who see few colours
_GRID = "#e5e5e5"
_LEGEND = 96


@dataclass(frozen=True, slots=True)
class Curve:
    """The greatest recall at no more than a share of wrong answers: points of both, rising."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Panel:
    """The curves of one file."""

    title: str
    curves: Sequence[Curve]


def curve(name: str, ranked: Iterable[tuple[float, bool]], positives: int) -> Curve:
    """Trace what serving all up to a rank gives, from the ranks and whether they are right.

    Those of the same rank are served together. `positives` is how many could be right.
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


def svg(panels: Sequence[Panel]) -> str:
    """Draw the panels one below the other."""
    height = _HEIGHT * len(panels)
    size = f'width="{_WIDTH}" height="{height}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="11">',
        f'<rect {size} fill="white"/>',
    ]
    for number, panel in enumerate(panels):
        lines += [f'<g transform="translate(0 {_HEIGHT * number})">', *_panel(panel), "</g>"]
    return "\n".join([*lines, "</svg>"]) + "\n"


def _panel(panel: Panel) -> Iterator[str]:
    middle = (_x(0) + _x(_WORST)) / 2
    yield _text(middle, 16, panel.title, "middle")
    yield _text(middle, _HEIGHT - 8, "wrong among served, at most", "middle")
    yield _text(_x(0) - 6, _TOP - 12, "recall", "end")
    for step in range(_STEPS + 1):
        share, recall = _WORST * step / _STEPS, step / _STEPS
        yield _path(f"M{_x(share):.1f} {_y(0):.1f} V{_y(1):.1f}", _GRID, 1)
        yield _path(f"M{_x(0):.1f} {_y(recall):.1f} H{_x(_WORST):.1f}", _GRID, 1)
        yield _text(_x(share), _y(0) + 16, f"{100 * share:g} %", "middle")
        yield _text(_x(0) - 6, _y(recall) + 4, f"{100 * recall:g} %", "end")
    for number, (drawn, colour) in enumerate(zip(panel.curves, _COLOURS, strict=False)):
        yield _path(_steps(drawn), colour, 2)
        at = _x(0) + _LEGEND * number
        yield _path(f"M{at:.1f} 30 h16", colour, 2)
        yield _text(at + 20, 34, drawn.name, "start")


def _steps(drawn: Curve) -> str:
    """Go right, then up: between two points the former is what can be had."""
    path = [f"M{_x(0):.1f} {_y(0):.1f}"]
    path += [
        f"H{_x(share):.1f} V{_y(recall):.1f}" for share, recall in drawn.points if share <= _WORST
    ]
    return " ".join([*path, f"H{_x(_WORST):.1f}"])


def _x(share: float) -> float:
    return _LEFT + share / _WORST * (_WIDTH - _LEFT - _RIGHT)


def _y(recall: float) -> float:
    return _HEIGHT - _BOTTOM - recall * (_HEIGHT - _TOP - _BOTTOM)


def _path(steps: str, colour: str, width: int) -> str:
    return f'<path d="{steps}" fill="none" stroke="{colour}" stroke-width="{width}"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
