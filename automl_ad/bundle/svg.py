"""Small plots as SVG: axes, curves, bars and markers, for HTML pages without external resources.

Coordinates are in pixels from the upper left corner. All text is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

INK = "#222222"
GREY = "#767676"
FAINT = "#d9d9d9"
BLUE, VERMILION = "#0072b2", "#d55e00"
"""Colours that are distinguishable with colour vision deficiency (Okabe and Ito, 2008)."""

_TICK = 4
_LINE = 13  # line height of text


@dataclass(frozen=True)
class Axis:
    """One direction of a plot.

    Attributes:
        low: Value at ``start``.
        high: Value at ``end``, above ``low``.
        start: Coordinate of ``low``.
        end: Coordinate of ``high``; larger than ``start`` on a horizontal axis, smaller on a vertical one.
        label: Name of the quantity, with its unit.
    """

    low: float
    high: float
    start: float
    end: float
    label: str

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"an axis must span values but goes from {self.low} to {self.high}")

    def at(self, value: float) -> float:
        """The coordinate of a value; values beyond the axis are clipped to its ends."""
        share = (value - self.low) / (self.high - self.low)
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)

    def ticks(self, about: int = 5) -> list[float]:
        """Round values along the axis, at steps of 1, 2 or 5 times a power of ten."""
        least = (self.high - self.low) / about
        power = 10.0 ** math.floor(math.log10(least))
        step = next(times * power for times in (1, 2, 5, 10) if times * power >= least * (1 - 1e-9))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]


def drawing(width: int, height: int, title: str, description: str, parts: Iterable[str]) -> str:
    """The whole SVG element; title and description are its label for screen readers."""
    return (
        f'<svg role="img" aria-label="{escape(f"{title}. {description}")}" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-size="12" fill="{INK}">\n' + "\n".join(parts) + "\n</svg>"
    )


def text(x: float, y: float, content: str, anchor: str = "start", *, turned: bool = False, full: str = "") -> str:
    """One line of text.

    Args:
        x: Position of the anchor.
        y: Position of the baseline.
        content: The text.
        anchor: ``start``, ``middle`` or ``end``.
        turned: Whether it is rotated to read upwards.
        full: Shown on hovering, if ``content`` is abbreviated.
    """
    turn = f' transform="rotate(-90 {_px(x)} {_px(y)})"' if turned else ""
    hover = f"<title>{escape(full)}</title>" if full else ""
    return f'<text x="{_px(x)}" y="{_px(y)}" text-anchor="{anchor}"{turn}>{hover}{escape(content)}</text>'


def across(axis: Axis, y: float, about: int = 6) -> str:
    """A horizontal axis at height ``y``, with ticks, numbers and label below it."""
    parts = [segment((axis.start, y), (axis.end, y))]
    for value in axis.ticks(about):
        x = axis.at(value)
        parts += [segment((x, y), (x, y + _TICK)), text(x, y + _TICK + _LINE, f"{value:.6g}", "middle")]
    middle = (axis.start + axis.end) / 2
    return "\n".join([*parts, text(middle, y + _TICK + 2.6 * _LINE, axis.label, "middle")])


def upright(axis: Axis, x: float, about: int = 5) -> str:
    """A vertical axis at ``x``, with ticks, numbers and label to its left."""
    parts = [segment((x, axis.start), (x, axis.end))]
    for value in axis.ticks(about):
        y = axis.at(value)
        parts += [segment((x - _TICK, y), (x, y)), text(x - _TICK - 3, y + 4, f"{value:.6g}", "end")]
    middle = (axis.start + axis.end) / 2
    return "\n".join([*parts, text(x - 3.2 * _LINE, middle, axis.label, "middle", turned=True)])


def segment(start: tuple[float, float], end: tuple[float, float], colour: str = INK, dashes: str = "") -> str:
    """A straight line between two points."""
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    (x1, y1), (x2, y2) = start, end
    return f'<line x1="{_px(x1)}" y1="{_px(y1)}" x2="{_px(x2)}" y2="{_px(y2)}" stroke="{colour}"{dashed}/>'


def curve(x: Axis, y: Axis, values: Iterable[tuple[float, float]], colour: str = BLUE) -> str:
    """A polyline through points in axis values."""
    points = " ".join(f"{_px(x.at(across_))},{_px(y.at(up))}" for across_, up in values)
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2" stroke-linejoin="round"/>'


def dot(x: float, y: float, colour: str = VERMILION) -> str:
    """A marker with a white ring, which sets it off from a curve."""
    return f'<circle cx="{_px(x)}" cy="{_px(y)}" r="5" fill="{colour}" stroke="#ffffff" stroke-width="1.5"/>'


def histogram(x: Axis, y: Axis, edges: Sequence[float], counts: Sequence[int], colour: str = BLUE) -> str:
    """Bars between neighbouring edges; empty bins draw nothing.

    Args:
        x: Axis of the values.
        y: Axis of the counts, from 0.
        edges: [n + 1], ascending.
        counts: [n].
        colour: Of the bars.
    """
    bars = []
    for left, right, count in zip(edges, edges[1:], counts, strict=False):
        if count:
            top, width = y.at(count), x.at(right) - x.at(left)
            # A gap of one pixel between bars, but at most half of a narrow bar.
            bars.append(
                f'<rect x="{_px(x.at(left))}" y="{_px(top)}" width="{_px(max(width - 1, width / 2))}" '
                f'height="{_px(y.start - top)}" fill="{colour}"><title>{count} from {left:.6g} to {right:.6g}</title>'
                "</rect>"
            )
    return "\n".join(bars)


def _px(length: float) -> str:
    return f"{length:.2f}".rstrip("0").rstrip(".")
