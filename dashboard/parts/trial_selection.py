"""Which trials the reader has selected: by their numbers, for rows move while a search runs."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

_SELECTED, _ORDER = "selected_trials", "table_order"
TABLE = "trials_table"
"""Key of the table that rows are selected in."""


def selected() -> list[int]:
    """Numbers of the selected trials, in the order of selection."""
    return list(st.session_state.get(_SELECTED, ()))


def select(numbers: Sequence[int]) -> None:
    """Selects these trials and no others."""
    st.session_state[_SELECTED] = list(dict.fromkeys(numbers))


def toggle(numbers: Sequence[int]) -> None:
    """Selects these trials besides those that are selected; those that were, no more."""
    before = selected()
    select([number for number in before if number not in numbers] + [n for n in numbers if n not in before])


def follow_order(order: Sequence[int]) -> None:
    """Lets the table of trials in this order show the selection; to be called before it is drawn."""
    places = {number: place for place, number in enumerate(order)}
    rows = [places[number] for number in selected() if number in places]
    shown = st.session_state.get(TABLE)
    if shown is None or sorted(shown["selection"]["rows"]) != sorted(rows):
        st.session_state[TABLE] = {"selection": {"rows": rows}}
    st.session_state[_ORDER] = list(order)


def take_rows() -> None:
    """Makes the rows that the reader just clicked the selection; what filters hide stays selected."""
    order = st.session_state.get(_ORDER, [])
    clicked = [order[row] for row in st.session_state[TABLE]["selection"]["rows"] if row < len(order)]
    kept = [number for number in selected() if number in clicked or number not in order]
    select([*kept, *clicked])
