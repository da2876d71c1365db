"""Trials as a table that a browser shows, sorts and lets select."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
import streamlit as st

from automl_ad.formatting import interval
from parts.wording import method_name, one_line

if TYPE_CHECKING:
    from automl_ad.reporting.trial_table import TrialRow

MARKS = {
    "winner": ("winner", "the search's choice"),
    "default": ("baseline", "the training-free baseline"),
    "tied": ("tied", "may be better than the winner on real defects"),
    "picked": ("picked", "your choice"),
}
"""By attribute of a row, the mark in the table and what it means."""


def marks(row: TrialRow) -> str:
    """The marks of a trial: "winner, tied"."""
    return ", ".join(mark for attribute, (mark, _) in MARKS.items() if getattr(row, attribute))


def legend() -> str:
    """What the marks mean, as Markdown."""
    return " · ".join(f"**{mark}**: {meaning}" for mark, meaning in MARKS.values())


def ranked_frame(rows: Sequence[TrialRow]) -> pd.DataFrame:
    """The ranked table; numbers stay numbers, so that columns sort."""
    return pd.DataFrame(
        {
            "rank": pd.array([row.rank for row in rows], dtype="Int64"),
            "trial": [row.number for row in rows],
            "marks": [marks(row) or ("" if row.state == "complete" else row.state) for row in rows],
            "method": [method_name(row.method) for row in rows],
            "backbone": [row.backbone or "" for row in rows],
            "proxy": _numbers(row.proxy_score for row in rows),
            "interval": [interval(row.interval) for row in rows],
            "certify": _numbers(row.certify_score for row in rows),
            "latency": _numbers(row.latency_ms for row in rows),
            "size": _numbers(row.size_mb for row in rows),
            "fit": _numbers(row.fit_s for row in rows),
        }
    )


def ranked_columns() -> dict[str, Any]:
    """How the columns of `ranked_frame` look, with their units."""
    column = st.column_config
    return {
        "rank": column.NumberColumn(
            "rank", width=50, help="By shares of the other candidates beaten, over all families and severities."
        ),
        "trial": column.NumberColumn("trial", width=50),
        "marks": column.TextColumn("marks", width=150, help="What the words mean stands above the table."),
        "method": column.TextColumn("method", width=80),
        "backbone": column.TextColumn("backbone", width=110),
        "proxy": column.NumberColumn(
            "proxy score",
            format="%.3f",
            width=85,
            help="0 to 1: mean of image and localisation AUROC on synthetic anomalies. It ranks; it is no accuracy.",
        ),
        "interval": column.TextColumn("90 % interval", width=112),
        "certify": column.NumberColumn(
            "hold-out check",
            format="%.3f",
            width=90,
            help="The same for the best few, with other images and anomalies added.",
        ),
        "latency": column.NumberColumn(
            "latency (ms)", format="%.1f", width=90, help="For one image, backbone included."
        ),
        "size": column.NumberColumn("size (MB)", format="%.2f", width=75, help="Of the detector with its backbone."),
        "fit": column.NumberColumn("fit (s)", format="%.2f", width=65),
    }


def ended_frame(rows: Sequence[TrialRow]) -> pd.DataFrame:
    """Trials that failed or were pruned, and why; the newest first."""
    ended = sorted((row for row in rows if row.state in ("failed", "pruned")), key=lambda row: -row.number)
    return pd.DataFrame(
        {
            "trial": [row.number for row in ended],
            "state": [row.state for row in ended],
            "method": [row.method for row in ended],
            "backbone": [row.backbone or "" for row in ended],
            "after": _numbers(row.total_s for row in ended),
            "reason": [one_line(row.reason or "not known") for row in ended],
        }
    )


def ended_columns() -> dict[str, Any]:
    """How the columns of `ended_frame` look."""
    column = st.column_config
    return {
        "trial": column.NumberColumn("trial", width=60),
        "after": column.NumberColumn("ended after (s)", format="%.1f", width=110),
        "reason": column.TextColumn("reason", width="large"),
    }


def _numbers(values: Any) -> Any:
    return pd.array([float("nan") if value is None else float(value) for value in values], dtype="float64")
