"""All that is known of one trial, below the table."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from automl_ad.bundle.figures import bias_correction_message
from automl_ad.formatting import NONE, format_duration, megabytes, milliseconds, score, score_with_interval
from automl_ad.reporting.messages import format_params
from parts.score_charts import IN_FAMILY, cell_heat
from parts.show import show_chart
from parts.trial_frame import marks
from parts.wording import as_code, candidate, counted, plain

if TYPE_CHECKING:
    from automl_ad.reporting.trial_table import TrialRow


def trial_details(row: TrialRow) -> None:
    """A trial's figures, settings and scores by family and severity."""
    marked = marks(row)
    st.subheader(f"Trial {row.number}: {plain(candidate(row.method, row.backbone))}", anchor=False)
    if marked:
        st.caption(marked)
    if row.reason:
        st.warning(f"{row.state.capitalize()}: {plain(row.reason)}")
    left, right = st.columns([2, 3], gap="large")
    with left:
        st.table(_two_columns(figures_of(row), "figure"))
        st.table(_two_columns(settings_of(row), "setting"))
    with right:
        _cells(row)


def figures_of(row: TrialRow) -> dict[str, str]:
    """Scores and costs as text, with units and intervals."""
    place = NONE if row.rank is None else f"{row.rank} (beats {100 * (row.rank_score or 0):.0f} % of the others)"
    return {
        "rank": place,
        "proxy score": score_with_interval(row.proxy_score, row.interval),
        "hold-out check": score(row.certify_score),
        "latency of one image": milliseconds(row.latency_ms),
        "size": megabytes(row.size_mb),
        "peak memory": megabytes(row.peak_mb),
        "time to fit": format_duration(row.fit_s),
        "time in all": format_duration(row.total_s),
        "scored by": row.rule or NONE,
        "worker": row.worker or NONE,
    }


def settings_of(row: TrialRow) -> dict[str, str]:
    """The trial's parameters as text."""
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in sorted(format_params(row.params).items())
    } or {"none": NONE}


def _two_columns(facts: dict[str, str], name: str) -> pd.DataFrame:
    values = [as_code(value) if name == "setting" else plain(value) for value in facts.values()]
    return pd.DataFrame({"value": values}, index=pd.Index([plain(fact) for fact in facts], name=name))


def _cells(row: TrialRow) -> None:
    if not row.cells:
        st.info("There are no scores by family and severity: the trial did not come so far.")
        return
    texts = {cell: f"{score(value)} · {score(row.located.get(cell))}" for cell, value in row.cells.items()}
    means = {cell: (value + row.located.get(cell, value)) / 2 for cell, value in row.cells.items()}
    show_chart(
        cell_heat(means, "Mean of image and localisation AUROC", row.learned_from, texts), key=f"cells_{row.number}"
    )
    st.caption(
        "In each cell: image AUROC (how often an anomaly scores above a good part) · localisation AUROC (how often the "
        "highest value on the anomaly itself lies above the highest of a good part). The proxy score is their mean."
    )
    if row.learned_from:
        st.caption(
            f"{IN_FAMILY} It learned from anomalies of {counted(len(row.learned_from), 'family')}; these count neither "
            "for its proxy score nor for its rank (in-family bias)."
        )
    if row.advantage:
        st.caption(bias_correction_message(row.advantage))
