"""All studies of the workspace: start one, watch, stop, resume, open."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import streamlit as st

from automl_ad.errors import AutomlAdError
from automl_ad.reporting.overview import summaries
from parts import state
from parts.address import choose_study
from parts.blocks import POLL_S, page_head, poll, problem
from parts.search_form import demo_values, is_open, open_form, search_form
from parts.study_card import starting_card, study_card
from parts.wording import as_code, plain

if TYPE_CHECKING:
    from automl_ad.jobs import JobState
    from automl_ad.reporting.overview import StudyOverview

_WELCOME = """
You have good images of a product and no defects. automl-ad tries many anomaly detectors on them, judges each by
synthetic defects, and says how sure it is. Then you look at what the candidates mark, choose one, and export it.

1. **Start a search** from a folder of good images: at least 12 that differ, better 30 or more.
2. **Watch and compare** the candidates on the same images, also while the search runs.
3. **Decide**, and **export** the one you choose as a bundle for your line.
"""
_TOLD_FOR = timedelta(hours=12)
"""How long a search that could not be started stays in the list."""


def _searches() -> dict[str, JobState]:
    """The newest search of each study."""
    newest: dict[str, JobState] = {}
    for job in state.board().jobs(kind="search"):
        newest.setdefault(job.study, job)
    return newest


def _found() -> list[StudyOverview]:
    return summaries(state.workspace(), state.storage())


def _to_tell(jobs: dict[str, JobState], known: set[str]) -> list[JobState]:
    """Searches that are not in the list of studies yet, or never got there."""
    since = datetime.now(timezone.utc) - _TOLD_FOR
    return [
        job
        for name, job in jobs.items()
        if name not in known
        and (job.state == "running" or (job.state == "failed" and (job.ended_at or job.started_at) > since))
    ]


def _busy() -> bool:
    """Whether anything in the list may change by itself."""
    running = any(job.state == "running" for job in state.board().jobs(kind="search"))
    return running or any(summary.state == "searching" for summary in _found())


def _welcome() -> None:
    with st.container(border=True):
        st.subheader("Choose a detector for your line", anchor=False)
        st.markdown(_WELCOME)
        with st.container(horizontal=True):
            if st.button("Start a search", type="primary", icon=":material/add:"):
                open_form()
                st.rerun()
            if st.button("Draw demo parts and try it", icon=":material/draw:"):
                _try_demo()


def _try_demo() -> None:
    try:
        with st.spinner("Drawing steel flanges, good and defective …"):
            values = demo_values()
    except AutomlAdError as error:
        problem(error)
    else:
        open_form(values)
        st.rerun()


def _form() -> None:
    with st.container(border=True):
        st.subheader("Start a search", anchor=False)
        name = search_form()
    if name is not None:
        choose_study(name)
        st.toast(f"The search of {plain(name)} has started; it goes on when you close this page.")
        st.rerun()


def _list() -> None:
    found, jobs = _found(), _searches()
    for job in _to_tell(jobs, {summary.name for summary in found}):
        starting_card(job)
    for summary in sorted(found, key=lambda summary: (summary.state == "searching", summary.created_at), reverse=True):
        study_card(summary, jobs.get(summary.name))


def _page() -> None:
    nothing = not _found() and not _to_tell(_searches(), set())
    page_head(
        "Studies", f"One study is one search over one folder of good images. Workspace: {as_code(state.workspace())}"
    )
    if is_open():
        _form()
    elif not nothing and st.button("Start a search", type="primary", icon=":material/add:"):
        open_form()
        st.rerun()
    if nothing and not is_open():
        _welcome()
    poll(POLL_S, _busy)(_list)()


_page()
