"""Writes a candidate as a bundle, and hands it over with its guarantee and the code to run it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from automl_ad.bundle.precision import PRECISIONS
from automl_ad.errors import AutomlAdError
from automl_ad.formatting import score
from parts import state
from parts.blocks import empty_state, page_head, problem
from parts.bundle_view import bundle_name, show_bundle
from parts.jobs_view import follow_job
from parts.moved_images import moved_images, moved_images_field
from parts.wording import candidate, moment, plain

if TYPE_CHECKING:
    from automl_ad.jobs import JobState
    from automl_ad.reporting.trial_table import TrialRow
    from automl_ad.study.study import Study

_PRECISIONS = {
    "fp32": "as it was searched, on any processor",
    "fp16": "half the weights of networks, for GPUs",
    "int8": "convolutions in 8 bits, faster on many processors",
}
_PAST = 10


def _label(row: TrialRow) -> str:
    marks = [
        word
        for word, applies in (("picked", row.picked), ("winner", row.winner), ("tied", row.tied and not row.winner))
        if applies
    ]
    ending = f" ({', '.join(marks)})" if marks else ""
    return f"Trial {row.number}: {candidate(row.method, row.backbone)}, proxy score {score(row.proxy_score)}{ending}"


def _first(rows: list[TrialRow]) -> int:
    """The picked trial, else the winner, else the best."""
    wanted = next((row for row in rows if row.picked), None) or next((row for row in rows if row.winner), rows[0])
    return rows.index(wanted)


def _order(study: Study, rows: list[TrialRow]) -> None:
    numbers = [row.number for row in rows]
    by_number = {row.number: row for row in rows}
    asked = state.parameter("trial") or ""
    first = numbers.index(int(asked)) if asked.isdecimal() and int(asked) in by_number else _first(rows)
    moved = moved_images_field(study.name, study.settings.images)
    with st.form("export", border=True, enter_to_submit=False):
        number = st.selectbox("Trial", numbers, index=first, format_func=lambda number: _label(by_number[number]))
        precision = st.radio(
            "Precision", PRECISIONS, captions=[_PRECISIONS[name] for name in PRECISIONS], horizontal=True
        )
        started = st.form_submit_button("Build the bundle", type="primary", icon=":material/inventory_2:")
    fits = study.settings.folds + 1
    st.caption(
        f"The candidate is fitted {fits} times, to all good images and to {fits - 1} parts of them, so that its "
        "guarantee rests on images that it had not seen; then its graph is written and checked. This takes half a "
        f"minute, or about {fits} times as long as the fit of its trial where that is more."
    )
    if started and number is not None and precision is not None:
        try:
            job = state.board().start_export(study.name, number, precision, **moved_images(moved))
        except AutomlAdError as error:
            problem(error)
        else:
            state.set_parameters(job=job)
            st.rerun()


def _shown(study: Study, jobs: list[JobState]) -> JobState | None:
    """The export in the address, else the newest."""
    wanted = state.parameter("job")
    return next((job for job in jobs if job.id == wanted), jobs[0] if jobs else None)


def _outcome(job: JobState) -> None:
    st.subheader(f"Bundle of {moment(job.started_at)}", anchor=False)
    follow_job(job.id, "Building the bundle", "Stop the export")
    if job.state == "done" and job.result:
        show_bundle(Path(job.result["bundle"]), _name(job))


def _name(job: JobState) -> str:
    manifest: dict[str, Any] = (job.result or {}).get("manifest") or {}
    return bundle_name(job.study, manifest.get("facts", {}).get("trial", "bundle"), manifest.get("precision", "fp32"))


def _past(jobs: list[JobState], shown: JobState) -> None:
    others = [job for job in jobs if job.id != shown.id][:_PAST]
    if not others:
        return
    st.subheader("Other exports of this study", anchor=False)
    for job in others:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(
                f"{moment(job.started_at)} · {plain(_name(job)) if job.result else plain(job.error or job.state)}"
            )
            if st.button("Show", key=f"show_{job.id}"):
                state.set_parameters(job=job.id)
                st.rerun()


def _page() -> None:
    study = state.current_study()
    page_head("Export", "a candidate as one file that runs on your line without automl-ad.", study.name)
    rows = [row for row in state.trial_table(study).rows if row.state == "complete"]
    if not rows:
        empty_state("Nothing can be exported yet", "A bundle needs a finished trial.", "trials", "See the trials")
        return
    _order(study, rows)
    jobs = state.board().jobs(study=study.name, kind="export")
    shown = _shown(study, jobs)
    if shown is not None:
        _outcome(shown)
        _past(jobs, shown)


_page()
