"""How work that takes long is shown: where it stands, what is left, how to stop it, and what went wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from automl_ad.errors import AutomlAdError
from automl_ad.formatting import format_duration
from parts import state
from parts.blocks import POLL_S, poll, problem
from parts.wording import plain

if TYPE_CHECKING:
    from automl_ad.jobs import JobState
    from automl_ad.study.progress import Event

STAGES = {
    "audit": "Reading the images",
    "suite": "Drawing synthetic anomalies for the proxy suite",
    "sdas": "Learning to draw defects",
    "search": "Trying candidates",
    "average": "Building ensembles of the best",
    "certify": "Checking the best again",
    "try": "Looking at your images",
}


def follow_job(job_id: str, what: str, stop: str = "Stop") -> JobState:
    """Shows a job and keeps it up to date while it runs; the page is drawn again when it ends.

    Args:
        job_id: The job.
        what: What it does, as a phrase.
        stop: Label of the button that stops it.

    Returns:
        Where it stands now.

    Raises:
        AutomlAdError: There is no such job.
    """
    board = state.board()

    @poll(POLL_S, lambda: board.state(job_id).state == "running")
    def show() -> None:
        job = board.state(job_id)
        if job.state == "running":
            show_progress(job.event, what)
            if st.button(stop, key=f"stop_{job_id}", icon=":material/stop_circle:"):
                stop_job(job_id)
        else:
            show_ending(job, what)

    show()
    return board.state(job_id)


def show_progress(event: Event | None, what: str = "Starting") -> None:
    """A bar with what is being done, how far it is and how much time is left."""
    if event is None:
        st.progress(0.0, text=f"{plain(what)} …")
        return
    st.progress(share_done(event), text=plain(progress_text(event)))


def progress_text(event: Event) -> str:
    """One line: stage, units done, time left."""
    parts = [STAGES.get(event.stage, event.message or event.stage)]
    if event.total:
        parts.append(f"{event.done} of {event.total}")
    if event.left_s is not None:
        parts.append(f"about {format_duration(event.left_s)} left")
    elif event.elapsed_s > 0:
        parts.append(f"{format_duration(event.elapsed_s)} so far")
    return " · ".join(parts)


def share_done(event: Event) -> float:
    """0 to 1: by time where the time left of the whole search is known, else by units of the stage."""
    if event.stage == "search" and event.left_s is not None and event.elapsed_s + event.left_s > 0:
        return min(max(event.elapsed_s / (event.elapsed_s + event.left_s), 0.0), 1.0)
    return min(max(event.done / event.total, 0.0), 1.0) if event.total else 0.0


def show_ending(job: JobState, what: str) -> None:
    """What became of a job that does not run any more; nothing where all went well."""
    if job.state == "failed":
        problem(job.error or f"{what} failed, and nothing says why.")
        if job.log_tail:
            with st.expander("What it wrote last"):
                st.code(job.log_tail, language=None)
    elif job.state == "stopped":
        st.info("Stopped. Everything that was finished is kept.", icon=":material/stop_circle:")


def stop_job(job_id: str) -> None:
    """Asks a job to stop and says so."""
    try:
        state.board().stop(job_id)
    except AutomlAdError as error:
        problem(error)
    else:
        st.toast("Stopping: what runs now is finished or given up, everything else is kept.")
