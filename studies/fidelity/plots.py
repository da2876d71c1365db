"""The figures of the benchmark: the regret of every way to choose, and proxy score against real image AUROC."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

_COLUMNS = 4


def write_plots(judged: Mapping[str, Any], path: Path) -> None:
    """Writes both figures as one HTML page that needs no internet."""
    first = regrets(judged["rules"]).to_html(full_html=False, include_plotlyjs=True)
    second = scatter(judged["studies"]).to_html(full_html=False, include_plotlyjs=False)
    path.write_text(f"<!DOCTYPE html><meta charset='utf-8'><title>Fidelity</title>{first}{second}", encoding="utf-8")


def regrets(rules: Mapping[str, Any]) -> go.Figure:
    """A row a rule, a dot a study, a bar the mean."""
    figure = go.Figure()
    for name, row in rules.items():
        figure.add_scatter(x=row["regrets"], y=[name] * len(row["regrets"]), mode="markers", marker_color="#7fb2b8")
        mean = {"symbol": "line-ns-open", "size": 14, "color": "#1f6f78"}
        figure.add_scatter(x=[row["regret"]["mean"]], y=[name], mode="markers", marker=mean)
    figure.update_layout(height=120 + 24 * len(rules), showlegend=False, template="simple_white")
    figure.update_xaxes(title="regret of the choice, points of image AUROC")
    figure.update_yaxes(autorange="reversed")
    return figure


def scatter(studies: list[dict[str, Any]]) -> go.Figure:
    """A panel a study, a dot a trial; the chosen one is ringed."""
    rows = -(-len(studies) // _COLUMNS)
    titles = [f"{study['set']}, seed {study['seed']}" for study in studies]
    figure = make_subplots(rows, _COLUMNS, subplot_titles=titles)
    for place, study in enumerate(studies):
        where = {"row": place // _COLUMNS + 1, "col": place % _COLUMNS + 1}
        dots = study["dots"]
        figure.add_scatter(x=dots["proxy"], y=dots["real"], text=dots["names"], mode="markers", **where)
        ring = {"symbol": "circle-open", "size": 14, "color": "black"}
        chosen = dots["chosen"]
        figure.add_scatter(x=[dots["proxy"][chosen]], y=[dots["real"][chosen]], mode="markers", marker=ring, **where)
    figure.update_layout(height=120 + 300 * rows, showlegend=False, template="simple_white")
    figure.update_xaxes(title="proxy score")
    figure.update_yaxes(title="real image AUROC")
    return figure
