"""Puts a chart on the page: in the page's looks, with its words below it and for screen readers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import streamlit as st

from parts.chart import Chart
from parts.theme import PLOTLY_CONFIG, style_figure
from parts.wording import plain


def show_chart(chart: Chart, key: str, on_select: Literal["ignore"] | Callable[[], None] = "ignore") -> None:
    """Draws a chart, or says why there is none.

    Args:
        chart: What to draw.
        key: Unique on the page.
        on_select: Called when marks are clicked; see `clicked_trials`.
    """
    if chart.empty:
        st.info(plain(chart.caption))
        return
    own = chart.figure.layout.margin.to_plotly_json()
    figure = style_figure(chart.figure, chart.figure.layout.height).update_layout(margin=own)
    st.plotly_chart(
        figure,
        key=key,
        theme=None,
        on_select=on_select,
        selection_mode="points",
        config=PLOTLY_CONFIG,
        alt=chart.caption,
    )
    st.caption(plain(chart.caption))


def clicked_trials(key: str) -> list[int]:
    """Numbers of the trials whose marks were clicked in the chart of this key."""
    event: Any = st.session_state.get(key)
    points = event["selection"]["points"] if event else []
    numbers = [int(_first(point["customdata"])) for point in points if point.get("customdata") is not None]
    return list(dict.fromkeys(numbers))


def _first(custom: Any) -> Any:
    # What plotly hands back is a list or, by way of JSON, an object with numbers as keys.
    return custom["0"] if isinstance(custom, dict) else custom[0] if isinstance(custom, list | tuple) else custom
