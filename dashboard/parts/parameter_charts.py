"""Charts of one method's parameters: which values went with which proxy scores, and which parameters matter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from parts.chart import Chart, nothing, quiet
from parts.importances import FEWEST, as_number_or_text, spans_orders, varied
from parts.palette import SCALE, method_colour
from parts.trial_charts import scored_rows
from parts.wording import counted

if TYPE_CHECKING:
    from automl_ad.reporting.trial_table import TrialRow

_LONGEST = 18  # letters of a value on an axis


def parallel_coordinates(rows: Sequence[TrialRow], method: str) -> Chart:
    """One line a trial of a method, through the values of the parameters that vary to its proxy score.

    Args:
        rows: Of a study.
        method: Parameters differ from method to method, hence one at a time.
    """
    own = [row for row in scored_rows(rows) if row.method == method]
    names = varied(own)
    if len(own) < 2 or not names:
        return nothing(f"{method}: {_nothing_varies(len(own))}")
    scores = [row.proxy_score or 0.0 for row in own]
    dimensions = [_dimension(name, [as_number_or_text(row.params.get(name)) for row in own]) for name in names]
    line = {"color": scores, "colorscale": SCALE, "showscale": False}
    dimensions.append({"label": "proxy score", "values": scores, "tickformat": ".3f"})
    figure = go.Figure(
        go.Parcoords(line=line, dimensions=dimensions, labelangle=-20, unselected={"line": {"opacity": 0.1}})
    )
    figure.update_layout(height=440, margin={"l": 70, "r": 60, "t": 90, "b": 20})
    caption = (
        f"{counted(len(own), 'trial')} of {method}: a line is a trial, from the parameters that vary to its proxy "
        "score (0 to 1; the darker, the higher). Drag along an axis to keep only the lines that pass there."
    )
    return Chart(figure, caption)


def importance_chart(found: Mapping[str, float] | None, method: str, trials: int) -> Chart:
    """Bars of parameter importances.

    Args:
        found: From `importances`; None when they cannot be had.
        method: Whose parameters they are.
        trials: Complete trials of that method.
    """
    if not found:
        few = trials < FEWEST
        reason = f"{FEWEST} are needed to say which parameters matter" if few else "no parameter varied"
        return nothing(f"{counted(trials, 'complete trial')} of {method}: {reason}.")
    names, values = list(found)[::-1], list(found.values())[::-1]
    figure = go.Figure(
        go.Bar(
            x=values,
            y=names,
            orientation="h",
            marker={"color": method_colour(method)},
            text=[f"{100 * value:.0f} %" for value in values],
            textposition="outside",
            cliponaxis=False,
            hoverinfo="skip",
        )
    )
    quiet(figure, "share of the importance (0 to 1)", "", 120 + 30 * len(names))
    top = names[-1]
    caption = (
        f"What set the best trials of {method} apart from the others ({counted(trials, 'complete trial')}, PED-ANOVA): "
        f"{top} most, with {100 * found[top]:.0f} % of the importance. It says what mattered here, not why."
    )
    return Chart(figure, caption)


def _nothing_varies(trials: int) -> str:
    return (
        "two complete trials or more are needed." if trials < 2 else "its complete trials all have the same parameters."
    )


def _dimension(name: str, values: Sequence[float | int | str]) -> dict[str, Any]:
    numbers = [value for value in values if not isinstance(value, str)]
    if len(numbers) < len(values):
        kinds = sorted({str(value) for value in values})
        places = [kinds.index(str(value)) for value in values]
        texts = [kind if len(kind) <= _LONGEST else kind[: _LONGEST - 1] + "…" for kind in kinds]
        return {"label": name, "values": places, "tickvals": list(range(len(kinds))), "ticktext": texts}
    if not spans_orders(numbers):
        return {"label": name, "values": numbers}
    low, high = math.log10(min(numbers)), math.log10(max(numbers))
    ticks = [low + (high - low) * step / 4 for step in range(5)]
    logs = [math.log10(number) for number in numbers]
    return {"label": name, "values": logs, "tickvals": ticks, "ticktext": [f"{10**tick:.2g}" for tick in ticks]}
