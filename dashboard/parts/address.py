"""What stands in the address of a page, so that it can be reloaded, bookmarked and sent: the study and the trials."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

MOST_CHOSEN = 4
"""Trials that can be looked at side by side."""

PAGES = {
    "studies": ("Studies", ":material/folder_open:"),
    "data": ("Data", ":material/photo_library:"),
    "trials": ("Trials", ":material/leaderboard:"),
    "compare": ("Compare", ":material/compare:"),
    "decide": ("Decide", ":material/tune:"),
    "try_images": ("Try", ":material/add_photo_alternate:"),
    "export": ("Export", ":material/inventory_2:"),
}
"""Title and icon by the name of the page's file."""

_KEPT = ("study", "trials")


def keep_parameters() -> None:
    """Puts what is chosen back into the address: the menu leaves it out, and a reload starts from the address."""
    given = {name: st.query_params.get(name) for name in _KEPT}
    if given["study"] not in (None, st.session_state.get("kept_study")):
        st.session_state["kept_trials"] = None  # trials of another study mean nothing here
    for name in _KEPT:
        if given[name]:
            st.session_state[f"kept_{name}"] = given[name]
        elif st.session_state.get(f"kept_{name}"):
            st.query_params[name] = st.session_state[f"kept_{name}"]


def parameter(name: str) -> str | None:
    """A query parameter of the address."""
    return st.query_params.get(name) or None


def set_parameters(**values: str | None) -> None:
    """Changes query parameters; None takes one away."""
    for name, value in values.items():
        if name in _KEPT:
            st.session_state[f"kept_{name}"] = value
        if value is None:
            st.query_params.pop(name, None)
        elif st.query_params.get(name) != value:
            st.query_params[name] = value


def study_name() -> str | None:
    """The study in the address, whether it exists or not."""
    return parameter("study")


def choose_study(name: str) -> None:
    """Makes a study the one that all pages speak of."""
    if name != study_name():
        set_parameters(study=name, trials=None)


def chosen_trials() -> list[int]:
    """Trials chosen to be looked at side by side, at most `MOST_CHOSEN`."""
    given = (parameter("trials") or "").split(",")
    numbers = [int(part) for part in given if part.isascii() and part.isdigit() and len(part) < 9]
    return list(dict.fromkeys(numbers))[:MOST_CHOSEN]


def choose_trials(numbers: Sequence[int]) -> None:
    """Chooses trials to be looked at side by side."""
    kept = list(dict.fromkeys(numbers))[:MOST_CHOSEN]
    set_parameters(trials=",".join(map(str, kept)) or None)


def link(page: str, label: str, **values: str | None) -> None:
    """A link to another page that takes the study and the chosen trials along.

    Args:
        page: Name of its file, see `PAGES`.
        label: Its text; may hold Markdown.
        **values: Query parameters to change; None takes one away.
    """
    st.page_link(f"views/{page}.py", label=label, icon=PAGES[page][1], query_params=_carried(values))


def go(page: str, **values: str | None) -> None:
    """Goes to another page as `link` does."""
    for name in set(values) & set(_KEPT):
        st.session_state[f"kept_{name}"] = values[name]
    st.switch_page(f"views/{page}.py", query_params=_carried(values))


def _carried(values: dict[str, str | None]) -> dict[str, str]:
    kept = {name: st.query_params.get(name) for name in _KEPT}
    if values.get("study", kept["study"]) != kept["study"]:
        kept["trials"] = None
    return {name: value for name, value in (kept | values).items() if value}
