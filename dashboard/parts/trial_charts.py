"""Charts of a study's trials: how the search went, who worked when, what costs what, and who is tied with whom."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import plotly.graph_objects as go

from parts.chart import SELECTED, UNSELECTED, Chart, listed, method_marks, nothing, quiet, scatter_kind
from parts.palette import FAINT, INK, method_colour
from parts.wording import counted

if TYPE_CHECKING:
    from automl_ad.reporting.trial_table import TrialRow

PROXY_SCORE = "proxy score (0 to 1)"
_UNITS = {"latency_ms": "latency (ms for one image)", "size_mb": "size (MB)"}
_MARK_RANGE = (7.0, 26.0)
_NONE_YET = "No trial has finished yet: the first appears here within a minute or so of the search's start."


def history(rows: Sequence[TrialRow], over: Literal["trial", "time"] = "trial") -> Chart:
    """Proxy score of every complete trial, and the best so far.

    Args:
        rows: Of a study, in any order.
        over: What the x axis is: the trial's number, or minutes since the first one began.
    """
    scored = sorted((row for row in scored_rows(rows) if over == "trial" or row.ended_at), key=_moment(over))
    if not scored:
        return nothing(_NONE_YET)
    figure = go.Figure()
    start = min((row.started_at for row in scored if row.started_at), default=None)
    place = {row.number: _place(row, over, start) for row in scored}
    for method, group in by_method(scored).items():
        figure.add_trace(_points(method, group, [place[row.number] for row in group], len(scored)))
    steps = _best_so_far(scored)
    last = place[scored[-1].number]
    xs = [place[row.number] for row in steps] + [last]
    ys = [row.proxy_score for row in steps] + [steps[-1].proxy_score]
    line = {"shape": "hv", "color": INK, "width": 1.5}
    figure.add_trace(go.Scatter(x=xs, y=ys, mode="lines", line=line, name="best so far", hoverinfo="skip"))
    best = steps[-1]
    caption = (
        f"{counted(len(scored), 'complete trial')} of {listed(by_method(scored))}. The line is the best proxy score so "
        f"far; it last rose at trial {best.number}, to {best.proxy_score:.3f}."
    )
    return Chart(quiet(figure, _over_title(over), PROXY_SCORE), caption)


def pareto(
    rows: Sequence[TrialRow], front: Collection[int], cost: Literal["latency_ms", "size_mb"] = "latency_ms"
) -> Chart:
    """Proxy score against what it costs; those of the front are joined, for no other is better in all respects.

    Args:
        rows: Of a study.
        front: Numbers of the trials on the front.
        cost: The x axis; the other of latency and size is the area of a mark.
    """
    other: Literal["latency_ms", "size_mb"] = "size_mb" if cost == "latency_ms" else "latency_ms"
    known = [row for row in scored_rows(rows) if (getattr(row, cost) or 0) > 0]
    if not known:
        return nothing(_NONE_YET)
    figure = go.Figure()
    sizes = _mark_sizes({row.number: getattr(row, other) or 0.0 for row in known})
    for method, group in by_method(known).items():
        xs, areas = [getattr(row, cost) for row in group], [sizes[row.number] for row in group]
        figure.add_trace(_points(method, group, xs, len(known), areas))
    line = sorted((row for row in known if row.number in front), key=lambda row: (getattr(row, cost), row.proxy_score))
    xs, ys = [getattr(row, cost) for row in line], [row.proxy_score for row in line]
    ring = {"symbol": "circle-open", "size": 15, "color": INK, "line": {"width": 1.5}}
    figure.add_trace(go.Scatter(x=xs, y=ys, mode="markers", marker=ring, name="Pareto front", hoverinfo="skip"))
    quiet(figure, _UNITS[cost], PROXY_SCORE, 420).update_xaxes(type="log")
    named = listed(f"{row.number}" for row in line[:12]) + (" and others" if len(line) > 12 else "")
    caption = (
        f"{counted(len(known), 'complete trial')}; the larger a mark, the larger its {_UNITS[other].split(' (')[0]}. "
        f"Ringed is the Pareto front, where nothing is better in proxy score, latency and size at once: trials {named}."
    )
    return Chart(figure, caption)


def intervals(rows: Sequence[TrialRow], most: int = 15) -> Chart:
    """Proxy scores of the best candidates with their intervals; the tied ones are filled.

    Args:
        rows: Of a study, ranked.
        most: Candidates shown; the baseline and the tied ones always are.
    """
    placed = [row for row in scored_rows(rows) if row.interval]
    shown = [row for place, row in enumerate(placed) if place < most or row.tied or row.default]
    if not shown:
        return nothing(_NONE_YET)
    labels = [f"{row.number}: {row.method}{' (default)' if row.default else ''}" for row in shown]
    figure = go.Figure()
    for tied, name in ((True, "tied set"), (False, "not tied")):
        group = [(row, label) for row, label in zip(shown, labels, strict=True) if row.tied is tied]
        if group:
            figure.add_trace(_bars_of_doubt(group, tied, name))
    quiet(figure, f"{PROXY_SCORE}, 90 % interval", "", 110 + 26 * len(shown))
    figure.update_yaxes(categoryorder="array", categoryarray=labels[::-1], type="category")
    tied_numbers = [row.number for row in shown if row.tied]
    caption = f"The best {counted(len(shown), 'candidate')} in the order of the ranking, with 90 % intervals. " + (
        f"Filled: the tied set, trials {listed(tied_numbers)}, the winner and whoever may well be better; "
        "the intervals are of the proxy suite alone, so others may overlap them."
        if tied_numbers
        else "There is no tied set yet: it is known when the search has ended."
    )
    return Chart(figure, caption)


def timeline(rows: Sequence[TrialRow]) -> Chart:
    """When each worker was at which trial."""
    timed = [row for row in rows if row.started_at and row.ended_at and row.worker]
    if not timed:
        return nothing("No trial has its times and its worker on record.")
    figure = go.Figure()
    for method, group in by_method(timed).items():
        figure.add_trace(_stretches(method, group, len(timed)))
    ended = [row for row in timed if row.state in ("failed", "pruned")]
    if ended:
        figure.add_trace(_ends(ended, len(timed)))
    workers = sorted({str(row.worker) for row in timed})
    quiet(figure, "time (UTC); one line a worker", "", 160 + 44 * len(workers))
    figure.update_yaxes(type="category", categoryorder="array", categoryarray=workers[::-1])
    busy = sum((row.ended_at - row.started_at).total_seconds() for row in timed if row.ended_at and row.started_at)
    caption = (
        f"{counted(len(timed), 'trial')} on {counted(len(workers), 'worker')}, {busy / 60:.1f} minutes of work in all; "
        f"a bar is a trial, gaps are other work. {counted(len(ended), 'trial')} ended early (crosses)."
    )
    return Chart(figure, caption)


def scored_rows(rows: Sequence[TrialRow]) -> list[TrialRow]:
    """Complete trials with a proxy score."""
    return [row for row in rows if row.state == "complete" and row.proxy_score is not None]


def by_method(rows: Sequence[TrialRow]) -> Mapping[str, list[TrialRow]]:
    """Rows by method, the methods in alphabetical order so that the legend stays put while a search runs."""
    return {method: [row for row in rows if row.method == method] for method in sorted({row.method for row in rows})}


def _points(
    method: str, group: Sequence[TrialRow], xs: Sequence[Any], total: int, sizes: Sequence[float] | None = None
) -> Any:
    """Marks that tell their trial's number when they are clicked."""
    return scatter_kind(total)(
        x=xs,
        y=[row.proxy_score for row in group],
        mode="markers",
        name=method,
        marker=method_marks(method, sizes or 8),
        customdata=[[row.number] for row in group],
        hovertext=[hover(row) for row in group],
        hoverinfo="text",
        selected=SELECTED,
        unselected=UNSELECTED,
    )


def hover(row: TrialRow) -> str:
    """A trial in three short lines."""
    bounds = f" ({row.interval[0]:.3f} to {row.interval[1]:.3f})" if row.interval else ""
    score = "no proxy score" if row.proxy_score is None else f"proxy score {row.proxy_score:.3f}{bounds}"
    costs = [f"{value:.3g} {unit}" for value, unit in ((row.latency_ms, "ms"), (row.size_mb, "MB")) if value]
    return "<br>".join([f"trial {row.number}: {row.method}, {row.backbone or 'no backbone'}", score, ", ".join(costs)])


def _best_so_far(rows: Sequence[TrialRow]) -> list[TrialRow]:
    """The rows at which the best score rose: all that a line of steps needs."""
    steps: list[TrialRow] = []
    for row in rows:
        if not steps or (row.proxy_score or 0) > (steps[-1].proxy_score or 0):
            steps.append(row)
    return steps


def _moment(over: str) -> Any:
    return (lambda row: row.number) if over == "trial" else (lambda row: (row.ended_at, row.number))


def _place(row: TrialRow, over: str, start: datetime | None) -> float:
    if over == "trial" or row.ended_at is None or start is None:
        return float(row.number)
    return (row.ended_at - start).total_seconds() / 60


def _over_title(over: str) -> str:
    return "trial" if over == "trial" else "time since the first trial began (minutes)"


def _mark_sizes(values: Mapping[int, float]) -> dict[int, float]:
    """Diameters of marks whose areas grow with the values, in pixels."""
    small, large = _MARK_RANGE
    highest = max(values.values()) or 1.0
    return {number: small + (large - small) * (value / highest) ** 0.5 for number, value in values.items()}


def _bars_of_doubt(group: Sequence[tuple[TrialRow, str]], tied: bool, name: str) -> go.Scatter:
    rows = [row for row, _ in group]
    values = [row.proxy_score or 0.0 for row in rows]
    bounds = [row.interval or (value, value) for row, value in zip(rows, values, strict=True)]
    colours = [method_colour(row.method) for row in rows]
    return go.Scatter(
        x=values,
        y=[label for _, label in group],
        mode="markers",
        name=name,
        marker={"color": colours, "size": 10, "symbol": "circle" if tied else "circle-open", "line": {"width": 2}},
        error_x={
            "array": [high - value for (_, high), value in zip(bounds, values, strict=True)],
            "arrayminus": [value - low for (low, _), value in zip(bounds, values, strict=True)],
            "symmetric": False,
            "color": INK if tied else FAINT,
            "thickness": 2 if tied else 1,
            "width": 4,
        },
        customdata=[[row.number] for row in rows],
        hovertext=[hover(row) for row in rows],
        hoverinfo="text",
    )


def _stretches(method: str, group: Sequence[TrialRow], total: int) -> Any:
    """One line with gaps, for thousands of bars of their own would be slow."""
    xs = [moment for row in group for moment in (row.started_at, row.ended_at, None)]
    ys = [worker for row in group for worker in (row.worker, row.worker, None)]
    texts = [text for row in group for text in (hover(row), hover(row), "")]
    line = {"color": method_colour(method), "width": 14}
    return scatter_kind(total)(
        x=xs, y=ys, mode="lines", name=method, line=line, hovertext=texts, hoverinfo="text", connectgaps=False
    )


def _ends(rows: Sequence[TrialRow], total: int) -> Any:
    return scatter_kind(total)(
        x=[row.ended_at for row in rows],
        y=[row.worker for row in rows],
        mode="markers",
        name="ended early",
        marker={"symbol": "x-thin", "size": 9, "line": {"width": 2, "color": INK}},
        hovertext=[f"trial {row.number} {row.state}" for row in rows],
        hoverinfo="text",
    )
