"""Which trials are looked at: by method, backbone, state, latency and size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

if TYPE_CHECKING:
    from automl_ad.reporting.trial_table import TrialRow

STATES = ("complete", "running", "pruned", "failed")


@dataclass(frozen=True)
class TrialFilter:
    """What a trial must be like to be shown.

    Attributes:
        methods: One of these; any when empty.
        backbones: One of these; any when empty.
        states: One of these; any when empty.
        latency_ms: At most this, for one image.
        size_mb: At most this.
    """

    methods: Sequence[str] = ()
    backbones: Sequence[str] = ()
    states: Sequence[str] = ()
    latency_ms: float | None = None
    size_mb: float | None = None

    def keeps(self, row: TrialRow) -> bool:
        """Whether a trial is shown; one whose latency or size is not known is not, where there is a limit."""
        named = (
            (self.methods, row.method),
            (self.backbones, row.backbone),
            (self.states, row.state),
        )
        limited = ((self.latency_ms, row.latency_ms), (self.size_mb, row.size_mb))
        return all(not wanted or value in wanted for wanted, value in named) and all(
            limit is None or (value is not None and value <= limit) for limit, value in limited
        )

    def of(self, rows: Sequence[TrialRow]) -> list[TrialRow]:
        """Those that are shown, in their order."""
        return [row for row in rows if self.keeps(row)]


def filter_row(methods: Sequence[str], backbones: Sequence[str]) -> TrialFilter:
    """One row of widgets; what is left empty lets everything pass.

    Args:
        methods: To choose from.
        backbones: To choose from.
    """
    places = st.columns([3, 3, 3, 2, 2], vertical_alignment="bottom")
    with places[0]:
        chosen = st.multiselect("Methods", methods, key="filter_methods", placeholder="all")
    with places[1]:
        frozen = st.multiselect("Backbones", backbones, key="filter_backbones", placeholder="all")
    with places[2]:
        states = st.multiselect("States", STATES, key="filter_states", placeholder="all")
    with places[3]:
        latency = st.number_input(
            "Most latency (ms)", 0.0, None, None, key="filter_latency", placeholder="any", format="%g"
        )
    with places[4]:
        size = st.number_input("Most size (MB)", 0.0, None, None, key="filter_size", placeholder="any", format="%g")
    return TrialFilter(chosen, frozen, states, latency, size)
