"""What all charts share: a figure with its description as text, quiet axes, and marks that stay fast in thousands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from parts.palette import method_colour, method_symbol

MANY = 800
"""From here on marks are drawn by WebGL: an SVG element each would make the page stutter."""
SELECTED = {"marker": {"opacity": 1.0}}
UNSELECTED = {"marker": {"opacity": 0.35}}


@dataclass(frozen=True)
class Chart:
    """An image of numbers, and the same as text.

    Attributes:
        figure: For plotly; without traces when there is nothing to draw, and the caption then says why.
        caption: What the chart shows, for those who cannot see it and for those who glance.
    """

    figure: go.Figure
    caption: str

    @property
    def empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not self.figure.data


def nothing(why: str) -> Chart:
    """A chart that cannot be drawn, and why."""
    return Chart(go.Figure(), why)


def quiet(figure: go.Figure, x: str, y: str, height: int = 380) -> go.Figure:
    """Gives axes their titles, and takes away what only looks busy."""
    figure.update_layout(
        height=height,
        hovermode="closest",
        dragmode=False,
        clickmode="event+select",
        barmode="overlay",
        uirevision="kept",  # a search that goes on must not undo the reader's zoom
    )
    figure.update_xaxes(title=x)
    figure.update_yaxes(title=y)
    return figure


def scatter_kind(count: int) -> type[Any]:
    """The plotly trace for so many marks."""
    kind: type[Any] = go.Scattergl if count > MANY else go.Scatter
    return kind


def method_marks(method: str, size: int | Sequence[float] = 8) -> dict[str, Any]:
    """Marker settings of a method."""
    outline = {"width": 0.5, "color": "white"}
    return {"color": method_colour(method), "symbol": method_symbol(method), "size": size, "line": outline}


def listed(names: Iterable[object]) -> str:
    """Names in one phrase: "a, b and c"."""
    texts = [str(name) for name in names]
    if len(texts) < 2:
        return "".join(texts)
    return f"{', '.join(texts[:-1])} and {texts[-1]}"
