"""Charts of scores: of normals against anomalies with a threshold, and of every family and severity."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import pairwise

import plotly.graph_objects as go

from automl_ad.formatting import percent, score
from parts.chart import Chart, listed, nothing, quiet
from parts.palette import ANOMALY, BAD_SCALE, GOOD_SCALE, INK, NORMAL

IN_FAMILY = "⌂"
"""Marks a family that a candidate learned from."""
_SEVERITY = "severity (0.95 is easy to see, 0.7 hard)"


def histogram(
    edges: Sequence[float], counts: Mapping[str, Sequence[float]], threshold: float, shown: str = "all families"
) -> Chart:
    """How many normals and how many anomalies score what, and where the threshold lies.

    Args:
        edges: Of the bins, one more than there are bins.
        counts: ``normal`` and ``anomaly``, images a bin.
        threshold: What scores above it is rejected.
        shown: Which anomalies these are.
    """
    middles = [(low + high) / 2 for low, high in pairwise(edges)]
    width = edges[1] - edges[0]
    kinds = (("normal", NORMAL, "good parts (proxy normals)"), ("anomaly", ANOMALY, f"synthetic anomalies ({shown})"))
    figure = go.Figure()
    for kind, colour, name in kinds:
        marker = {"color": colour, "opacity": 0.6, "pattern": {"shape": "/" if kind == "anomaly" else ""}}
        hover = "score about %{x:.4g}: %{y} images<extra></extra>"
        figure.add_trace(
            go.Bar(x=middles, y=list(counts[kind]), width=width, name=name, marker=marker, hovertemplate=hover)
        )
    figure.add_vline(x=threshold, line={"color": INK, "width": 2, "dash": "dash"})
    side = "right" if threshold > middles[len(middles) // 2] else "left"
    figure.add_annotation(
        x=threshold, y=1, yref="paper", text=f"threshold {threshold:.4g}", showarrow=False, xanchor=side, xshift=0
    )
    normals, anomalies = sum(counts["normal"]), sum(counts["anomaly"])
    caption = (
        f"Raw scores of {normals:g} good parts and {anomalies:g} synthetic anomalies ({shown}); what lies right of the "
        f"dashed line, at {threshold:.4g}, would be rejected."
    )
    return Chart(quiet(figure, "score (raw, higher = more anomalous)", "images", 340), caption)


def cell_heat(
    cells: Mapping[str, float],
    title: str,
    learned_from: Collection[str] = (),
    texts: Mapping[str, str] | None = None,
    bad: bool = False,
) -> Chart:
    """A table of one number by family and severity, coloured.

    Args:
        cells: 0 to 1 by cell, such as ``texture/0.85``.
        title: What the number is.
        learned_from: Families that the candidate learned from.
        texts: What stands in each cell; the number with three digits when None.
        bad: Whether a high number is bad, as of escapes, and 0 the best; else it is a rank statistic, 0.5 being chance.
    """
    if not cells:
        return nothing("There are no scores by family and severity.")
    families = list(dict.fromkeys(cell.split("/")[0] for cell in cells))
    severities = sorted({cell.split("/")[1] for cell in cells if "/" in cell}, key=float)
    table = [[cells.get(f"{family}/{severity}") for severity in severities] for family in families]
    words = texts or {cell: f"{value:.3f}" for cell, value in cells.items()}
    text = [[words.get(f"{family}/{severity}", "") for severity in severities] for family in families]
    names = [f"{family} {IN_FAMILY}" if family in learned_from else family for family in families]
    figure = go.Figure(
        go.Heatmap(
            z=table,
            x=severities,
            y=names,
            text=text,
            texttemplate="%{text}",
            textfont={"color": "#20282B"},
            colorscale=[list(stop) for stop in (BAD_SCALE if bad else GOOD_SCALE)],
            zmin=0.0 if bad else 0.5,
            zmax=1,
            xgap=2,
            ygap=2,
            showscale=False,  # the numbers stand in the cells
            hovertemplate="%{y}, severity %{x}: %{text}<extra></extra>",
        )
    )
    quiet(figure, _SEVERITY, "", 110 + 34 * len(families))
    figure.update_xaxes(type="category", tickangle=0).update_yaxes(autorange="reversed", type="category")
    return Chart(figure, _cells_in_words(cells, title, learned_from, percent if bad else score))


def _cells_in_words(
    cells: Mapping[str, float], title: str, learned_from: Collection[str], written: Callable[[float], str]
) -> str:
    lowest, highest = min(cells, key=lambda cell: cells[cell]), max(cells, key=lambda cell: cells[cell])
    words = (
        f"{title} by family and severity: lowest {written(cells[lowest])} ({_spoken(lowest)}), highest "
        f"{written(cells[highest])} ({_spoken(highest)})."
    )
    learned = [family for family in dict.fromkeys(cell.split("/")[0] for cell in cells) if family in learned_from]
    if learned:
        words += (
            f" {IN_FAMILY} marks what the candidate learned from ({listed(learned)}): in-family bias raises its scores "
            "there."
        )
    return words


def _spoken(cell: str) -> str:
    family, _, severity = cell.partition("/")
    return f"{family} at severity {severity}" if severity else family
