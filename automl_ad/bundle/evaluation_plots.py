"""The two plots of an evaluation report: the ROC curve and the histograms of scores by type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from automl_ad.bundle.svg import (
    BLUE,
    FAINT,
    GREY,
    INK,
    VERMILION,
    Axis,
    across,
    curve,
    dot,
    drawing,
    histogram,
    segment,
    text,
    upright,
)
from automl_ad.formatting import rate

_Floats = npt.NDArray[np.float64]

BINS = 40
_REACH = 4
"""Range of the axis above the threshold, as a multiple of the distance from the lowest score to the threshold."""

_WIDTH, _LEFT, _RIGHT = 1040, 190, 1020
_TOP, _ROW, _GAP, _BOTTOM = 60, 50, 18, 50
_LETTERS = 22


def roc_points(good: _Floats, bad: _Floats) -> list[tuple[float, float]]:
    """The ROC curve: (false positive rate, true positive rate) at every threshold, from (0, 0) to (1, 1)."""
    levels = np.unique(np.concatenate([good, bad]))[::-1]
    called = [1 - np.searchsorted(np.sort(scores), levels, side="left") / len(scores) for scores in (good, bad)]
    return [(0.0, 0.0), *zip(called[0].tolist(), called[1].tolist(), strict=True)]


def roc_plot(good: _Floats, bad: _Floats, threshold: float) -> str:
    """The ROC curve with the operating point marked.

    Args:
        good: [n], scores of good images, at least one.
        bad: [m], scores of defective images, at least one.
        threshold: Higher scores are called anomalous.
    """
    x = Axis(0, 100, 62, 382, "false positive rate: good images rejected (%)")
    y = Axis(0, 100, 340, 20, "true positive rate: defective images found (%)")
    alarms, found = float((good > threshold).mean()), float((bad > threshold).mean())
    points = [(100 * first, 100 * second) for first, second in roc_points(good, bad)]
    parts = [across(x, y.start), upright(y, x.start)]
    parts += [segment((x.start, y.start), (x.end, y.end), GREY, "4 4"), curve(x, y, points)]
    parts += [dot(x.at(100 * alarms), y.at(100 * found)), dot(196, 302)]
    parts += [text(208, 306, "at the threshold"), text(208, 322, "dashed: chance")]
    description = f"At the threshold the false positive rate is {rate(alarms)} and the true positive rate {rate(found)}"
    return drawing(400, 400, "ROC curve", description, parts)


def score_plot(scores: Mapping[str, _Floats], good: str, thresholds: Mapping[str, float]) -> str:
    """One histogram of scores per type, stacked vertically, with the thresholds drawn through all of them.

    Args:
        scores: For each type its scores, at least one; in the order of the rows.
        good: Name of the type without a defect.
        thresholds: Value by name.
    """
    edges = _edges(np.concatenate(list(scores.values())), list(thresholds.values()))
    bottom = _TOP + len(scores) * (_ROW + _GAP) - _GAP
    x = Axis(edges[0], edges[-1], _LEFT, _RIGHT, _score_label(edges, scores))
    parts = [text(_LEFT - 8, _TOP - 8, "images", "end")]
    for row, (name, values) in enumerate(scores.items()):
        parts += _row(x, edges, name, values, _TOP + row * (_ROW + _GAP), BLUE if name == good else VERMILION)
    parts += [across(x, bottom, 10), *_thresholds(x, thresholds, bottom)]
    description = f"{', '.join(scores)}; {', '.join(f'{name} {value:.4g}' for name, value in thresholds.items())}"
    return drawing(_WIDTH, bottom + _BOTTOM, "Scores by type", description, parts)


def _edges(scores: _Floats, thresholds: Sequence[float]) -> list[float]:
    """Edges of about BINS bars; one of them is the first threshold, so that no bar straddles it.

    The last bar collects all higher scores: a few huge scores would otherwise press all others into one bar.
    """
    mark = max(thresholds)
    low, high = min(*thresholds, float(scores.min())), max(mark, float(scores.max()))
    if mark > low:
        high = min(high, mark + _REACH * (mark - low))
    # The axis needs a positive range even if all scores are equal.
    width = (high - low or max(abs(high), 1.0)) / BINS
    first, last = np.floor((low - thresholds[0]) / width), np.ceil((high - thresholds[0]) / width) + 1
    return [thresholds[0] + float(step) * width for step in np.arange(first, last + 1)]


def _score_label(edges: Sequence[float], scores: Mapping[str, _Floats]) -> str:
    beyond = any(values.max() > edges[-1] for values in scores.values())
    return "image score (raw units of the detector)" + ("; the last bar holds all higher ones" if beyond else "")


def _row(x: Axis, edges: Sequence[float], name: str, values: _Floats, top: int, colour: str) -> list[str]:
    counts = np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0].tolist()
    y = Axis(0, max(counts), top + _ROW, top, "images")
    short = name if len(name) <= _LETTERS else f"{name[: _LETTERS - 1]}…"
    return [
        text(8, top + _ROW / 2, short, full=name),
        text(8, top + _ROW / 2 + 15, f"{len(values)} image{'s' * (len(values) != 1)}"),
        text(_LEFT - 8, top + 9, str(max(counts)), "end"),
        text(_LEFT - 8, top + _ROW, "0", "end"),
        segment((x.start, y.start), (x.end, y.start), FAINT),
        histogram(x, y, edges, counts, colour),
    ]


def _thresholds(x: Axis, thresholds: Mapping[str, float], bottom: int) -> list[str]:
    """Vertical lines, the first of them solid, and labels placed so that no other line crosses them."""
    places = {name: x.at(value) for name, value in thresholds.items()}
    leftwards = max(places.values()) > (x.start + x.end) / 2
    anchor, beside = ("end", -4) if leftwards else ("start", 4)
    parts = []
    # A label may extend over the lines of later thresholds, which start below it.
    for row, name in enumerate(sorted(places, key=places.__getitem__, reverse=leftwards)):
        place, y = places[name], 14 + 15 * row
        parts.append(segment((place, y - 10), (place, bottom), INK, "" if name == next(iter(thresholds)) else "5 4"))
        parts.append(text(place + beside, y, f"{name} {thresholds[name]:.4g}", anchor))
    return parts
