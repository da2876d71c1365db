"""Candidates side by side on the same images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import streamlit as st

from automl_ad.errors import AutomlAdError
from automl_ad.formatting import percent
from parts.blocks import empty_state, page_head, problem
from parts.candidates import choose_several, proposal
from parts.guarantees import Wish, rounded_up, wishes
from parts.pictures import Shown, colour_legend, picture_rows
from parts.reviewed import comparison, operating_points
from parts.state import current_study, is_searching, trial_table
from parts.wording import candidate, counted

if TYPE_CHECKING:
    from automl_ad.reporting.comparison import Comparison, Order, PictureRow
    from automl_ad.reporting.trial_table import TrialRow

ORDERS: Mapping[str, Order] = {
    "disagreement": "disagreement",
    "worst miss": "worst_miss",
    "worst false alarm": "worst_false_alarm",
    "suite": "suite",
}
_PAGE = "compare_page"

study = current_study()


def _wished(numbers: Sequence[int]) -> Wish:
    """The guarantee at which images are called rejected."""
    offered = {wish.label: wish for wish in wishes(operating_points(study, numbers[0]).smallest_overkill)}
    possible = [label for label, wish in offered.items() if wish.supported]
    label = st.selectbox(
        "Overkill guaranteed",
        possible,
        index=len(possible) - 1,
        key="compare_promise",
        help="Each candidate rejects what scores above the threshold that keeps this guarantee on its own good parts.",
    )
    return offered[str(label)]


def _choices(found: Comparison, numbers: Sequence[int]) -> tuple[list[PictureRow], Wish, int]:
    """One row of widgets: which images, in which order, how many a page, and at which guarantee."""
    places = st.columns([4, 3, 3, 5, 3])
    with places[0]:
        order = st.selectbox("Order by", list(ORDERS), key="compare_order", on_change=_first_page)
    with places[1]:
        families = [None, *found.suite.families]
        family = st.selectbox("Family", families, format_func=_any, key="compare_family", on_change=_first_page)
    with places[2]:
        severities = [None, *sorted({row.severity for row in found.pictures if row.severity is not None})]
        severity = st.selectbox("Severity", severities, format_func=_any, key="compare_severity", on_change=_first_page)
    with places[3]:
        wish = _wished(numbers)
    with places[4]:
        size = st.segmented_control(
            "Images a page", [12, 24], default=12, required=True, key="compare_size", on_change=_first_page
        )
    return found.ordered(ORDERS[str(order)], family, severity), wish, int(size or 12)


def _any(value: object) -> str:
    return "all" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _first_page() -> None:
    st.session_state[_PAGE] = 0


def _turn(by: int) -> None:
    st.session_state[_PAGE] = st.session_state.get(_PAGE, 0) + by


def _leaf(rows: Sequence[PictureRow], size: int) -> list[PictureRow]:
    """The page that is open, between buttons to turn."""
    last = max(0, (len(rows) - 1) // size)
    page = min(max(st.session_state.get(_PAGE, 0), 0), last)
    shown = list(rows[page * size : (page + 1) * size])
    words, back, onward = st.columns([5, 1, 1], vertical_alignment="center")
    if shown:
        words.caption(f"Images {page * size + 1} to {page * size + len(shown)} of {len(rows)}")
    else:
        words.caption("No image of this kind: choose another family or severity.")
    back.button("Previous", on_click=_turn, args=(-1,), disabled=page == 0, width="stretch")
    onward.button("Next", on_click=_turn, args=(1,), disabled=page == last, width="stretch")
    return shown


@st.fragment
def _side_by_side(numbers: Sequence[int], rows: Sequence[TrialRow]) -> None:
    try:
        found = comparison(study, numbers)
        pictures, wish, size = _choices(found, numbers)
        titles = {row.number: f"{row.number}: {candidate(row.method, row.backbone)}" for row in rows}
        candidates = [
            Shown(number, titles[number], operating_points(study, number).threshold_for(wish.share).value)
            for number in numbers
        ]
    except AutomlAdError as error:
        problem(error)
        return
    colour_legend()
    st.caption(
        "p: share of the candidate's own good parts, this image counted among them, that score at least as high. A "
        f"verdict is that at a threshold that guarantees at most {percent(rounded_up(wish.share))} overkill; "
        f"{counted(found.suite.normals, 'good part')} stand behind it."
    )
    picture_rows(found, _leaf(pictures, size), candidates)


def _page() -> None:
    rows = trial_table(study).rows
    proposed = proposal(rows)
    if not proposed:
        searching = is_searching(study)
        what = "The search goes on: look again when a trial has finished." if searching else "Go on with the search."
        empty_state("No candidate yet", what, "trials" if searching else "studies")
        return
    numbers = choose_several(rows, "Candidates", proposed)
    if not numbers:
        empty_state("No candidate is chosen", "Choose up to four above, or select rows of the ranked table.", "trials")
        return
    if len(numbers) == 1:
        st.info("Only one candidate is chosen: add another to see where they differ.")
    _side_by_side(numbers, [row for row in rows if row.number in numbers])


page_head("Compare", "what each candidate marks on the same images.", study.name)
_page()
