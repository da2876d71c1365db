"""What a candidate would cost at a threshold, what the evidence supports, and the reader's choice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
import streamlit as st

from automl_ad.errors import AutomlAdError
from automl_ad.formatting import percent
from automl_ad.reporting.messages import certainty_message, coverage_messages, ensemble_message
from parts.address import go, parameter
from parts.blocks import empty_state, page_head, problem
from parts.candidates import in_one_line, offered
from parts.guarantees import bounds_in_words, on_grid, out_of_reach, rounded_up, spoken, step_of, wishes
from parts.reviewed import operating_points
from parts.score_charts import cell_heat, histogram
from parts.show import show_chart
from parts.state import current_study, is_searching, link, trial_table
from parts.trial_frame import ranked_columns, ranked_frame
from parts.wording import counted, moment, plain

if TYPE_CHECKING:
    from automl_ad.reporting.operating_points import OperatingPoint, OperatingPoints
    from automl_ad.reporting.trial_table import TrialRow, TrialTable

_USUAL = 0.05
_ALL = "all families"

study = current_study()


def _candidate(table: TrialTable) -> TrialRow | None:
    """The candidate that the page speaks of: the one asked for, picked, proposed, or else the best so far."""
    asked = parameter("trial") or ""
    wanted = [int(asked)] if asked.isascii() and asked.isdigit() and len(asked) < 9 else []
    known = offered(table.rows, wanted)
    if not known:
        return None
    wanted += [row.number for row in known.values() if row.picked] + [
        row.number for row in known.values() if row.winner
    ]
    first = next((number for number in wanted if number in known), next(iter(known)))
    number = st.selectbox(
        "Candidate",
        list(known),
        index=list(known).index(first),
        format_func=lambda number: in_one_line(known[number]),
        key="decide_candidate",
    )
    return known[first if number is None else number]


@st.fragment
def _threshold(row: TrialRow) -> None:
    """The slider that speaks."""
    try:
        points = operating_points(study, row.number)
    except AutomlAdError as error:
        problem(error)
        return
    (low, high), step, key = points.range, step_of(points), f"threshold_{row.number}"
    if key not in st.session_state:
        st.session_state[key] = on_grid(points.threshold_for(_USUAL).value, low, high, step)
    left, right = st.columns([3, 2], gap="large")
    with left:
        _presets(points, key)
        threshold = st.slider("Threshold (raw score)", low, high, step=step, format="%.4g", key=key)
        point = points.at(threshold)
        st.markdown(f"**{plain(spoken(point))}**")
        promised = percent(rounded_up(point.guaranteed))
        st.caption(
            f"Of the next good parts at most {promised} are rejected on average, as far as these "
            f"{len(points.normals)} can guarantee."
        )
        st.caption(
            "The slider is for looking: neither the pick nor the bundle takes this threshold along. These good parts "
            "also helped to rank the candidates, so the bundle sets its own from all good images, each judged by a "
            "detector that had not seen it; Export says what it guarantees."
        )
        _histogram(points, threshold)
    with right:
        _escapes(points, point)


def _presets(points: OperatingPoints, key: str) -> None:
    """Buttons for the usual guarantees; those that cannot be kept say what they would need."""
    offers = wishes(points.smallest_overkill)
    low, high = points.range
    st.markdown("Overkill (false positive rate on good parts) to guarantee")
    with st.container(horizontal=True, gap="small"):
        for wish in offers:
            value = on_grid(points.threshold_for(wish.share).value, low, high, step_of(points))
            st.button(
                wish.label,
                key=f"{key}_{wish.share:.6f}",
                help=wish.why,
                disabled=not wish.supported,
                on_click=_move,
                args=(key, value),
            )
    too_much = [wish for wish in offers if not wish.supported]
    if too_much:
        st.caption(out_of_reach(too_much, len(points.normals)))


def _move(key: str, value: float) -> None:
    st.session_state[key] = value


def _histogram(points: OperatingPoints, threshold: float) -> None:
    counts = points.histogram(40)
    family = str(st.selectbox("Anomalies shown", [_ALL, *counts.families], key="decide_family"))
    shown = counts.anomalies if family == _ALL else counts.families[family]
    by_kind = {"normal": counts.normals.tolist(), "anomaly": shown.tolist()}
    show_chart(histogram(counts.edges.tolist(), by_kind, threshold, family), key="score_histogram")


def _escapes(points: OperatingPoints, point: OperatingPoint) -> None:
    cells = {cell: share.value for cell, share in point.cells.items()}
    texts = {cell: f"{share.count} of {share.of}" for cell, share in point.cells.items()}
    st.markdown("**Escapes (false negative rate) by family and severity**")
    show_chart(cell_heat(cells, "Share that escapes", points.learned_from, texts, bad=True), key="escapes_chart")
    shares = point.families.values()
    frame = pd.DataFrame(
        {
            "escapes": [f"{share.count} of {share.of}" for share in shares],
            "share": [percent(share.value) for share in shares],
            "90 % interval": [bounds_in_words(share) for share in shares],
        },
        index=pd.Index([_family(name, share.in_family) for name, share in point.families.items()], name="family"),
    )
    st.table(frame)
    if points.learned_from:
        st.caption("Families that the candidate learned from look better than they are; the total leaves them out.")


def _family(name: str, learned_from: bool) -> str:
    return f"{plain(name)} (learned from)" if learned_from else plain(name)


def _reasons(table: TrialTable) -> None:
    """The tied set, and why the search proposes what it proposes."""
    answer = table.answer
    st.subheader("What the evidence says", anchor=False)
    if answer is None:
        going = is_searching(study)
        st.info(
            "The search has not ended: which candidates are tied, and whether the baseline stays the winner, is "
            "decided at its end." + ("" if going else " It was stopped; go on with it on the page Studies.")
        )
        return
    left, right = st.columns(2, gap="large")
    with left:
        kept = "The baseline wins." if answer.default_kept else "The baseline is replaced."
        st.markdown(f"**{kept if answer.default_trial is not None else ''}**")
        messages = (ensemble_message(answer.winner), certainty_message(answer))
        st.markdown(_bullets([*filter(None, messages), *answer.why]))
    with right:
        st.markdown("**What the search could not know**")
        st.markdown(_bullets([*answer.unknown, *coverage_messages(answer.proxy.coverage)]))
    tied = [row for row in table.rows if row.tied]
    st.markdown(f"**Tied set: {counted(len(tied), 'candidate')} that may be the best on real defects**")
    st.dataframe(
        ranked_frame(tied), hide_index=True, column_config=ranked_columns(), alt="The tied set", placeholder="–"
    )
    st.caption("Among these, choose by latency, by size, or by what they mark: Compare shows them side by side.")
    link("compare", "Compare the tied set", trials=",".join(str(row.number) for row in tied[:4]) or None)
    if answer.warnings:
        with st.expander(counted(len(answer.warnings), "warning")):
            st.markdown(_bullets(answer.warnings))


def _bullets(sentences: Sequence[str]) -> str:
    return "\n".join(f"- {plain(sentence)}" for sentence in sentences)


def _choice(row: TrialRow) -> None:
    """The reader's own choice, its history, and its undoing."""
    st.subheader("Your choice", anchor=False)
    picks = study.picks()
    current = picks[-1] if picks and picks[-1].number is not None else None
    if current is None:
        st.markdown("No candidate is picked: Export offers the search's winner first.")
    else:
        st.markdown(
            f"Trial **{current.number}** is picked, by {plain(current.who or 'somebody')} on {moment(current.at)}"
            + (f": {plain(current.note)}" if current.note else ".")
        )
    with st.form("pick", clear_on_submit=True):
        note = st.text_input("Note: why this one", max_chars=500, placeholder="kept with the choice")
        again = current is not None and current.number == row.number  # then the way on is to export it
        weight: Literal["primary", "secondary"] = "secondary" if again else "primary"
        if st.form_submit_button(f"Pick trial {row.number}", type=weight, disabled=row.state != "complete"):
            _write(lambda: study.pick(row.number, note.strip()))
    if current is not None:
        with st.container(horizontal=True):
            if st.button(f"Export trial {current.number}", type="primary", icon=":material/inventory_2:"):
                go("export", trial=str(current.number))
            if st.button("Undo the pick"):
                _write(lambda: study.unpick(""))
    if picks:
        with st.expander(f"History ({counted(len(picks), 'entry')})"):
            st.table(_history(picks))


def _write(change: Any) -> None:
    try:
        change()
    except AutomlAdError as error:
        problem(error)
        return
    st.rerun()


def _history(picks: Sequence[Any]) -> pd.DataFrame:
    newest = list(reversed(picks))
    return pd.DataFrame(
        {
            "choice": ["taken back" if pick.number is None else f"trial {pick.number}" for pick in newest],
            "who": [plain(pick.who) for pick in newest],
            "why": [plain(pick.note) for pick in newest],
        },
        index=pd.Index([moment(pick.at) for pick in newest], name="when"),
    )


def _page() -> None:
    table = trial_table(study)
    row = _candidate(table)
    if row is None:
        searching = is_searching(study)
        what = "The search goes on: look again when a trial has finished." if searching else "Go on with the search."
        empty_state("Nothing to decide yet", what, "trials" if searching else "studies")
        return
    _threshold(row)
    _reasons(table)
    _choice(row)


page_head("Decide", "what a threshold would cost, what the evidence supports, and your choice.", study.name)
_page()
