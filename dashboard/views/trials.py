"""All candidates of a study: ranked, charted, and each in detail; live while the search runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import streamlit as st

from automl_ad.methods.names import ENSEMBLE
from parts import trial_selection
from parts.address import MOST_CHOSEN, go
from parts.blocks import empty_state, page_head, poll
from parts.chart import listed
from parts.filters import filter_row
from parts.importances import importances
from parts.parameter_charts import importance_chart, parallel_coordinates
from parts.show import clicked_trials, show_chart
from parts.state import current_study, is_searching, trial_table
from parts.trial_charts import by_method, history, intervals, pareto, scored_rows, timeline
from parts.trial_details import trial_details
from parts.trial_frame import ended_columns, ended_frame, legend, ranked_columns, ranked_frame
from parts.wording import counted

if TYPE_CHECKING:
    from automl_ad.reporting.trial_table import TrialRow, TrialTable

POLL_S = 3.0
_PARETO = "pareto_chart"
_COSTS = {"latency": "latency_ms", "size": "size_mb"}

study = current_study()


def _ranking(table: TrialTable, shown: Sequence[TrialRow]) -> None:
    st.caption(f"{legend()}. Select rows for details, or to compare.")
    trial_selection.follow_order([row.number for row in shown])
    st.dataframe(
        ranked_frame(shown),
        key=trial_selection.TABLE,
        hide_index=True,
        height=min(36 + 33 * max(len(shown), 1), 460),
        column_config=ranked_columns(),
        placeholder="–",
        on_select=trial_selection.take_rows,
        selection_mode="multi-row",
        alt=f"Ranked table of {counted(len(shown), 'trial')}",
    )


def _history(table: TrialTable, shown: Sequence[TrialRow]) -> None:
    over = st.segmented_control("Over", ["trial", "time"], default="trial", required=True, key="history_over")
    show_chart(history(shown, "time" if over == "time" else "trial"), key="history_chart")


def _pareto(table: TrialTable, shown: Sequence[TrialRow]) -> None:
    cost = st.segmented_control("Against", list(_COSTS), default="latency", required=True, key="pareto_cost")
    chart = pareto(shown, table.pareto(), "size_mb" if cost == "size" else "latency_ms")
    show_chart(chart, key=_PARETO, on_select=_take_click)
    st.caption("Click a mark to select its trial; its details appear below.")


def _take_click() -> None:
    clicked = clicked_trials(_PARETO)
    if clicked:
        trial_selection.select(clicked)


def _tied(table: TrialTable, shown: Sequence[TrialRow]) -> None:
    show_chart(intervals(shown), key="tied_chart")


def _parameters(table: TrialTable, shown: Sequence[TrialRow]) -> None:
    groups = {method: own for method, own in by_method(scored_rows(shown)).items() if method != ENSEMBLE}
    if not groups:
        st.info("No trial has finished yet.")
        return
    method = st.segmented_control("Method", list(groups), default=next(iter(groups)), required=True, key="own_method")
    own = groups.get(str(method)) or next(iter(groups.values()))
    show_chart(parallel_coordinates(own, own[0].method), key="parallel_chart")
    found = _importances((study.name, *(row.number for row in own)), own)
    show_chart(importance_chart(found, own[0].method, len(own)), key="importance_chart")


@st.cache_data(show_spinner=False, max_entries=32)
def _importances(numbers: tuple[object, ...], _rows: Sequence[TrialRow]) -> Mapping[str, float] | None:
    return importances(_rows)


def _workers(table: TrialTable, shown: Sequence[TrialRow]) -> None:
    show_chart(timeline(shown), key="timeline_chart")


def _ended(table: TrialTable, shown: Sequence[TrialRow]) -> None:
    frame = ended_frame(shown)
    if frame.empty:
        st.info("No trial failed and none was pruned.")
        return
    st.caption("Pruned trials were stopped because others did better at the same point; failed ones say why.")
    st.dataframe(frame, hide_index=True, column_config=ended_columns(), alt="Trials that ended early, with reasons")


VIEWS: Mapping[str, Callable[[TrialTable, Sequence[TrialRow]], None]] = {
    "Table": _ranking,
    "History": _history,
    "Pareto front": _pareto,
    "Tied set": _tied,
    "Parameters": _parameters,
    "Workers": _workers,
    "Ended early": _ended,
}


def _actions(table: TrialTable) -> list[TrialRow]:
    """Says what is selected and what can be done with it."""
    known = {row.number: row for row in table.rows}
    rows = [known[number] for number in trial_selection.selected() if number in known]
    if not rows:
        return []
    complete = [row.number for row in rows if row.state == "complete"]
    words, compare, decide, clear = st.columns([5, 2, 2, 1], vertical_alignment="center")
    words.markdown(f"Selected: trial {listed(row.number for row in rows)}")
    many = len(complete) > MOST_CHOSEN
    tip = f"At most {MOST_CHOSEN} complete trials can be compared at once." if many or not complete else None
    if compare.button("Compare these", disabled=many or not complete, help=tip, width="stretch", type="primary"):
        go("compare", trials=",".join(map(str, complete)))
    if decide.button("Decide", disabled=len(complete) != 1, help="Select one complete trial.", width="stretch"):
        go("decide", trial=str(complete[0]))
    clear.button("Clear", on_click=trial_selection.select, args=([],), width="stretch")
    return rows


def _nothing_yet() -> None:
    if is_searching(study):
        empty_state(
            "No trial yet", "The search is drawing its proxy suite; the first trials appear here by themselves."
        )
    else:
        empty_state("No trial yet", "This search was stopped before its first trial: resume it.", "studies")


@poll(POLL_S, lambda: is_searching(study))
def _body() -> None:
    table = trial_table(study)
    if not table.rows:
        _nothing_yet()
        return
    chosen = filter_row(*_offered(table.rows))
    shown = chosen.of(table.rows)
    st.caption(
        f"{counted(len(shown), 'trial')} of {len(table.rows):,}, ranked by how often each beats the others over all "
        "families and severities: close to the order of proxy scores, but not the same."
    )
    tabs = st.tabs(list(VIEWS), key="trials_tab", on_change="rerun")
    for tab, draw in zip(tabs, VIEWS.values(), strict=True):
        if tab.open:  # only what is looked at is computed
            with tab:
                draw(table, shown)
    for row in _actions(table)[-1:]:
        trial_details(row)


def _offered(rows: Sequence[TrialRow]) -> tuple[list[str], list[str]]:
    """Methods and backbones to filter by."""
    return sorted({row.method for row in rows}), sorted({row.backbone for row in rows if row.backbone})


page_head("Trials", "every candidate tried, the best first.", study.name)
_body()
