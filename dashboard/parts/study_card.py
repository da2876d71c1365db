"""One study in the list: how it stands, who leads, and what can be done with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import streamlit as st

from automl_ad.errors import AutomlAdError
from automl_ad.study.settings import SEARCH_OPTIONS
from parts import state
from parts.address import choose_study, link
from parts.blocks import problem
from parts.jobs_view import show_progress, stop_job
from parts.moved_images import moved_images, moved_images_field
from parts.wording import as_code, counted, moment, plain

_Colour = Literal["blue", "orange", "green"]

if TYPE_CHECKING:
    from automl_ad.jobs import JobState
    from automl_ad.reporting.overview import StudyOverview
    from automl_ad.study.progress import Event

_BADGES: dict[str, tuple[str, _Colour, str]] = {
    "searching": ("Searching", "blue", ":material/progress_activity:"),
    "unfinished": ("Unfinished", "orange", ":material/pause_circle:"),
    "finished": ("Finished", "green", ":material/check_circle:"),
}


def study_card(summary: StudyOverview, job: JobState | None) -> None:
    """Draws one study.

    Args:
        summary: What is known of it.
        job: The newest search of it that this workspace's dashboard started, if any.
    """
    busy = summary.state == "searching" or (job is not None and job.state == "running")
    with st.container(border=True, key=f"study_{summary.name}"):
        names, facts, actions = st.columns([4, 5, 3], vertical_alignment="center")
        with names:
            link("trials", f"**{plain(summary.name)}**", study=summary.name)
            st.caption(f"{as_code(summary.images)}  \nbegun {moment(summary.created_at)}")
        with facts:
            _facts(summary, busy)
        with actions.container(horizontal=True, horizontal_alignment="right"):
            _actions(summary, job, busy)
        if busy:
            show_progress(_event(summary, job))
        elif job is not None and job.state == "failed" and job.error:
            problem(job.error)


def starting_card(job: JobState) -> None:
    """Draws a search that has not got as far as to be in the list of studies."""
    with st.container(border=True, key=f"starting_{job.id}"):
        if job.state == "failed":
            st.markdown(f"**{plain(job.study)}** could not be started.")
            problem(job.error or "Nothing says why; start it on the command line to see more.")
            return
        st.markdown(f"**{plain(job.study)}**")
        show_progress(job.event, "Starting")
        if st.button("Stop", key=f"stop_{job.id}", icon=":material/stop_circle:"):
            stop_job(job.id)


def counts_in_words(counts: Mapping[str, int]) -> str:
    """``12 trials: 10 complete, 2 failed`` or ``12 trials complete``."""
    parts = [f"{counts[name]:,} {name}" for name in ("complete", "pruned", "failed", "running") if counts.get(name)]
    total = sum(counts.values())
    if len(parts) < 2:
        return " ".join([counted(total, "trial"), *(part.split()[1] for part in parts)])
    return f"{counted(total, 'trial')}: {', '.join(parts)}"


def _event(summary: StudyOverview, job: JobState | None) -> Event | None:
    """What is being done: of a search that was started elsewhere only its study's folder tells."""
    if job is not None and job.state == "running":
        return job.event
    return summary.progress.event if summary.progress else None


def _facts(summary: StudyOverview, busy: bool) -> None:
    label, colour, icon = _BADGES["searching" if busy else summary.state]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.badge(label, color=colour, icon=icon)
        st.markdown(counts_in_words(summary.counts))
    lead = "Winner" if summary.state == "finished" and not busy else "Leader"
    lines = [f"{lead}: {plain(summary.leader)}"] if summary.leader else []
    lines += [f"Picked: trial {summary.picked}"] if summary.picked is not None else []
    lines += [f"{counted(summary.warnings, 'warning')}, see Data"] if summary.warnings else []
    if lines:
        st.caption("  \n".join(lines))


def _actions(summary: StudyOverview, job: JobState | None, busy: bool) -> None:
    if busy:
        _stop(summary, job)
    else:
        _resume(summary)
    if st.button("Open", key=f"open_{summary.name}", type="primary", icon=":material/arrow_forward:"):
        state.go("trials", study=summary.name)


def _stop(summary: StudyOverview, job: JobState | None) -> None:
    if job is None or job.state != "running":
        st.caption("Started elsewhere: stop it there with Ctrl-C.")
        return
    with st.popover("Stop", icon=":material/stop_circle:", key=f"stopping_{summary.name}"):
        st.markdown("Stop this search? Every finished trial is kept, and you can resume it later.")
        if st.button("Stop the search", key=f"stop_{summary.name}", type="primary"):
            stop_job(job.id)


def _resume(summary: StudyOverview) -> None:
    finished = summary.state == "finished"
    label = "Search on" if finished else "Resume"
    with st.popover(label, icon=":material/play_arrow:", key=f"resuming_{summary.name}"):
        st.markdown("Goes on where it stopped, with a fresh time budget. Nothing that is finished is done again.")
        budget = st.text_input(
            SEARCH_OPTIONS["time_budget"].label,
            key=f"budget_{summary.name}",
            placeholder="as before",
            help=SEARCH_OPTIONS["time_budget"].help,
        )
        trials = st.number_input(
            f"{SEARCH_OPTIONS['trials'].label}, including existing ones",
            1,
            value=None,
            key=f"trials_{summary.name}",
            placeholder="as before",
        )
        moved = moved_images_field(summary.name, Path(summary.images))
        if st.button(f"{label} now", key=f"resume_{summary.name}", type="primary"):
            _start_again(summary.name, budget.strip() or None, trials, moved)


def _start_again(name: str, budget: str | None, trials: int | None, moved: str) -> None:
    try:
        state.board().resume_search(name, time_budget=budget, trials=trials, **moved_images(moved))
    except AutomlAdError as error:
        problem(error)
    else:
        choose_study(name)
        st.rerun(scope="app")
