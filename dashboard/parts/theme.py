"""How everything looks: one accent, much white, figures that stand below one another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
import streamlit as st

PLOTLY_CONFIG = {"displaylogo": False, "responsive": True, "modeBarButtonsToRemove": ["autoScale2d", "toImage"]}
"""For ``st.plotly_chart(config=...)``."""

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'Liberation Sans', Arial, sans-serif"

_STYLE = """
<style>
  .stMainBlockContainer { max-width: 1560px; padding: 3.2rem 2.5rem 4rem; }
  .stMainBlockContainer, .stSidebar { font-variant-numeric: tabular-nums; }
  .stMain h1 { letter-spacing: -0.01em; padding-bottom: 0; }
  .stMain :is(p, li) { max-width: 80ch; }
  .stMain :is([data-testid="stAlert"], [data-testid="stImageCaption"], button) p { max-width: none; }
  .stImage { gap: 0.6rem; }
  .stImage img { border-radius: 4px; }
  :is(a, button, input, textarea, [tabindex]):focus-visible { outline: 2px solid currentColor; outline-offset: 2px; }
  @media (prefers-reduced-motion: reduce) { * { animation: none !important; transition: none !important; } }
</style>
"""


@dataclass(frozen=True)
class Colours:
    """Colours of charts, as ``#rrggbb``.

    Attributes:
        accent: The one colour that draws the eye.
        ink: Text.
        muted: What is there but not meant.
        line: Axes and grids.
        surface: The page.
        good: Good parts.
        bad: Defects, misses and false alarms.
        warn: What needs a look.
        families: Kinds beside one another, told apart by people who see few colours, too.
    """

    accent: str
    ink: str
    muted: str
    line: str
    surface: str
    good: str
    bad: str
    warn: str
    families: tuple[str, ...]


LIGHT = Colours(
    accent="#1f6f78",
    ink="#20282b",
    muted="#8a979b",
    line="#dfe5e6",
    surface="#ffffff",
    good="#5b7f95",
    bad="#b5482f",
    warn="#b07a12",
    families=("#1f6f78", "#c06c2b", "#5a5fa8", "#7d9b3c", "#a3477a", "#3f8fc4", "#8a6d3b", "#5c6b70"),
)
DARK = Colours(
    accent="#5bb3bd",
    ink="#e6eaeb",
    muted="#7f8d91",
    line="#333c3f",
    surface="#15191b",
    good="#8fb3c9",
    bad="#e5836a",
    warn="#d8a94a",
    families=("#5bb3bd", "#e09a5f", "#979be0", "#adc96b", "#d482ad", "#7dbbe6", "#c4a571", "#a3b1b6"),
)


def apply() -> None:
    """Sets the page up; the colours of widgets are in ``.streamlit/config.toml``."""
    st.html(_STYLE)


def colours() -> Colours:
    """Those of the theme that the reader sees."""
    return DARK if st.context.theme.type == "dark" else LIGHT


def style_figure(figure: go.Figure, height: int | None = None) -> go.Figure:
    """Gives a Plotly figure the page's font, colours and quiet axes.

    Args:
        figure: Changed in place.
        height: In pixels; None leaves the figure its own.

    Returns:
        ``figure``.
    """
    chosen = colours()
    figure.update_layout(**_layout(chosen))
    if height is not None:
        figure.update_layout(height=height)
    axes = {"gridcolor": chosen.line, "linecolor": chosen.line, "zeroline": False, "automargin": True}
    axes |= {"title_font_size": 13, "tickfont_size": 12}
    figure.update_xaxes(**axes)
    figure.update_yaxes(**axes)
    return figure


def _layout(chosen: Colours) -> dict[str, Any]:
    return {
        "template": "none",
        "font": {"family": FONT, "size": 13, "color": chosen.ink},
        "colorway": chosen.families,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 8, "r": 8, "t": 32, "b": 8},
        "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.0, "xanchor": "left", "x": 0},
        "hoverlabel": {"bgcolor": chosen.surface, "bordercolor": chosen.line, "font": {"color": chosen.ink}},
    }
