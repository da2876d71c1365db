"""Own images before the candidates: what they mark, and what real defects say of their order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from automl_ad.data.reading import IMAGE_SUFFIXES
from automl_ad.errors import AutomlAdError
from automl_ad.formatting import megabytes
from automl_ad.jobs.folder import JobFolder
from parts.blocks import empty_state, page_head, problem
from parts.candidates import choose_several, proposal
from parts.jobs_view import follow_job
from parts.moved_images import moved_images, moved_images_field
from parts.state import board, current_study, is_searching, trial_table, workspace
from parts.user_images import LABELS, LIMITS, Shelf, in_words
from parts.user_images_view import ORDERS, in_order, reranked, show_tried
from parts.wording import as_code, counted, plain

if TYPE_CHECKING:
    from automl_ad.jobs import JobState
    from automl_ad.reporting.trial_table import TrialRow

_A_PAGE = 12
_TYPES = sorted(suffix.removeprefix(".") for suffix in IMAGE_SUFFIXES)

study = current_study()
shelf = Shelf.of(workspace(), study.name)


def _bring() -> None:
    """The form that takes images."""
    with st.form("bring", clear_on_submit=True):
        files = st.file_uploader(
            f"Images, at most {LIMITS.files} in all and {megabytes(LIMITS.file_bytes / 2**20)} each",
            type=_TYPES,
            accept_multiple_files=True,
            max_upload_size=LIMITS.file_bytes >> 20,
            help="They are stored in the workspace of the machine that runs this dashboard, and nowhere else.",
        )
        left, right = st.columns(2)
        with left:
            label = st.segmented_control("They are", LABELS, default=LABELS[0], required=True, key="try_label")
        with right:
            kind = st.text_input("Type of the defect (optional)", max_chars=40, placeholder="such as scratch")
        if st.form_submit_button("Add"):
            _add(files, str(label or LABELS[0]), kind)


def _add(files: Sequence[Any], label: str, kind: str) -> None:
    if not files:
        st.warning("No image is chosen: drop some into the field first.")
        return
    try:
        added = shelf.add([(file.name, file.getvalue()) for file in files], label, kind)
    except AutomlAdError as error:
        problem(error)
    else:
        st.toast(f"{counted(added, 'image')} added.")


def _shelf() -> bool:
    """Says what was brought; whether there is anything."""
    counts = shelf.counts()
    if not counts:
        given = Path(study.settings.images) / "test"  # of a data set in MVTec layout, as the demo parts are
        where = f" Some to try lie in {as_code(given)}." if given.is_dir() else ""
        st.info(
            "No image yet: choose some above and press **Add**. A few real defects, if you have any, say more than "
            f"many good parts.{where}"
        )
        return False
    words, remove = st.columns([5, 1], vertical_alignment="center")
    words.markdown(plain(in_words(counts)))
    remove.button("Remove all", on_click=shelf.clear, width="stretch")
    return True


def _start(rows: Sequence[TrialRow], ready: bool) -> None:
    picked = [row.number for row in rows if row.picked]
    numbers = choose_several(rows, "Candidates", list(dict.fromkeys(picked + proposal(rows)))[:4])
    moved = moved_images_field(study.name, study.settings.images)
    if st.button("Try them", type="primary", disabled=not (ready and numbers)):
        try:
            board().start_try(study.name, numbers, shelf.folder, **moved_images(moved))
        except AutomlAdError as error:
            problem(error)


def _outcome(rows: Sequence[TrialRow]) -> None:
    """The newest attempt: its progress, or what it found."""
    tried = board().jobs(study.name, "try")
    if not tried:
        return
    st.divider()
    job = follow_job(tried[0].id, "Trying your images")
    if job.state == "done" and job.result:
        _real(job.result, rows)
        _maps(job, job.result)


def _real(result: Mapping[str, Any], rows: Sequence[TrialRow]) -> None:
    """The order by real defects, apart from the search."""
    real = result["real"]
    if real is None:
        st.caption("No defect is among the images, so nothing is re-ranked.")
        return
    st.subheader(f"Re-ranked by {counted(real['defects'], 'real defect')}: apart from the search", anchor=False)
    st.dataframe(
        reranked(result, rows),
        column_config={"image AUROC": st.column_config.NumberColumn("image AUROC (0 to 1)", format="%.3f")},
        alt="Candidates in the order of real defects, beside the search's order",
    )
    st.caption(plain(real["note"]))


@st.fragment
def _maps(job: JobState, result: Mapping[str, Any]) -> None:
    st.subheader("What the candidates mark", anchor=False)
    st.caption(
        "As the search fitted them, to a part of the good images. A bundle is fitted to all of them and sets its own "
        "threshold, so that a close verdict may change."
    )
    left, middle, right = st.columns([2, 2, 3], vertical_alignment="bottom")
    labels = list(dict.fromkeys(picture["label"] for picture in result["pictures"]))
    with left:
        label = st.selectbox("Images", [None, *labels], format_func=lambda name: name or "all", key="try_shown")
    with middle:
        order = str(st.selectbox("Order", ORDERS, key="try_order"))
    chosen = [picture for picture in result["pictures"] if label in (None, picture["label"])]
    with right:
        page = _page_number(len(chosen))
    shown = in_order(chosen, order)[(page - 1) * _A_PAGE : page * _A_PAGE]
    folder = JobFolder.of(workspace(), job.id).root
    show_tried(folder, result, shown)


def _page_number(pictures: int) -> int:
    last = max(1, -(-pictures // _A_PAGE))
    if last == 1:
        return 1
    return int(st.number_input(f"Page, 1 to {last}", 1, last, 1, key=f"try_page_{last}"))


def _page() -> None:
    rows = trial_table(study).rows
    if not proposal(rows):
        searching = is_searching(study)
        what = "The search goes on: look again when a trial has finished." if searching else "Go on with the search."
        empty_state("No candidate yet", what, "trials" if searching else "studies")
        return
    _bring()
    ready = _shelf()
    _start(rows, ready)
    _outcome(rows)


page_head("Try", "your own images, judged by the candidates.", study.name)
_page()
