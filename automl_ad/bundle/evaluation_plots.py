"""The two plots of an evaluation: what every threshold would do, and where the scores lie."""

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
    upright,
    words,
)
from automl_ad.formatting import rate

_Floats = npt.NDArray[np.float64]

BINS = 40
_REACH = 4
"""How far beyond the threshold scores are told apart, in distances from the lowest score to the threshold."""

_WIDTH, _LEFT, _RIGHT = 1040, 190, 1020
_TOP, _ROW, _GAP, _BOTTOM = 60, 50, 18, 50
_LETTERS = 22


def roc_points(good: _Floats, bad: _Floats) -> list[tuple[float, float]]:
    """The ROC curve: for every threshold the shares of good and of defective images above it, from none to all."""
    levels = np.unique(np.concatenate([good, bad]))[::-1]
    called = [1 - np.searchsorted(np.sort(scores), levels, side="left") / len(scores) for scores in (good, bad)]
    return [(0.0, 0.0), *zip(called[0].tolist(), called[1].tolist(), strict=True)]


def roc_plot(good: _Floats, bad: _Floats, threshold: float) -> str:
    """The ROC curve with the working point marked.

    Args:
        good: [n], scores of good images, at least one.
        bad: [m], of defective ones.
        threshold: Above which images are called anomalous.
    """
    x = Axis(0, 100, 62, 382, "good images called anomalous (%)")
    y = Axis(0, 100, 340, 20, "defective images found (%)")
    alarms, found = float((good > threshold).mean()), float((bad > threshold).mean())
    points = [(100 * first, 100 * second) for first, second in roc_points(good, bad)]
    parts = [across(x, y.start), upright(y, x.start)]
    parts += [segment((x.start, y.start), (x.end, y.end), GREY, "4 4"), curve(x, y, points)]
    parts += [dot(x.at(100 * alarms), y.at(100 * found)), dot(196, 302)]
    parts += [words(208, 306, "at the threshold"), words(208, 322, "dashed: chance")]
    said = f"At the threshold {rate(alarms)} of good images are called anomalous, {rate(found)} of defects found"
    return drawing(400, 400, "ROC curve", said, parts)


def score_plot(scores: Mapping[str, _Floats], good: str, thresholds: Mapping[str, float]) -> str:
    """One histogram of scores for each type, below each other, with the thresholds drawn through all of them.

    Args:
        scores: For each type its scores, at least one; in the order of the rows.
        good: The type without a defect.
        thresholds: Value by name.
    """
    edges = _edges(np.concatenate(list(scores.values())), list(thresholds.values()))
    bottom = _TOP + len(scores) * (_ROW + _GAP) - _GAP
    x = Axis(edges[0], edges[-1], _LEFT, _RIGHT, _score_label(edges, scores))
    parts = [words(_LEFT - 8, _TOP - 8, "images", "end")]
    for row, (name, values) in enumerate(scores.items()):
        parts += _row(x, edges, name, values, _TOP + row * (_ROW + _GAP), BLUE if name == good else VERMILION)
    parts += [across(x, bottom, 10), *_thresholds(x, thresholds, bottom)]
    said = f"{', '.join(scores)}; {', '.join(f'{name} {value:.4g}' for name, value in thresholds.items())}"
    return drawing(_WIDTH, bottom + _BOTTOM, "Scores by type", said, parts)


def _edges(scores: _Floats, thresholds: Sequence[float]) -> list[float]:
    """Of about BINS bars. One edge is the first threshold, so that no bar lies on both sides of it.

    A few huge scores must not press all others into one bar, so the last bar takes them in.
    """
    mark = max(thresholds)
    low, high = min(*thresholds, float(scores.min())), max(mark, float(scores.max()))
    if mark > low:
        high = min(high, mark + _REACH * (mark - low))
    # An axis needs room even where all scores are one.
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
        words(8, top + _ROW / 2, short, whole=name),
        words(8, top + _ROW / 2 + 15, f"{len(values)} image{'s' * (len(values) != 1)}"),
        words(_LEFT - 8, top + 9, str(max(counts)), "end"),
        words(_LEFT - 8, top + _ROW, "0", "end"),
        segment((x.start, y.start), (x.end, y.start), FAINT),
        histogram(x, y, edges, counts, colour),
    ]


def _thresholds(x: Axis, thresholds: Mapping[str, float], bottom: int) -> list[str]:
    """Lines, the first of them solid, and their labels, of which no other line crosses one."""
    places = {name: x.at(value) for name, value in thresholds.items()}
    leftwards = max(places.values()) > (x.start + x.end) / 2
    anchor, beside = ("end", -4) if leftwards else ("start", 4)
    parts = []
    # Labels reach over the lines of those that follow, which begin below them.
    for row, name in enumerate(sorted(places, key=places.__getitem__, reverse=leftwards)):
        place, y = places[name], 14 + 15 * row
        parts.append(segment((place, y - 10), (place, bottom), INK, "" if name == next(iter(thresholds)) else "5 4"))
        parts.append(words(place + beside, y, f"{name} {thresholds[name]:.4g}", anchor))
    return parts
