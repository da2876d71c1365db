"""What a study searches on: anything unusual about its images, its splits, and the proxy suite drawn on them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from automl_ad.errors import AutomlAdError
from automl_ad.formatting import percent
from automl_ad.reporting.comparison import Comparison
from automl_ad.reporting.overview import summaries
from automl_ad.study.settings import PRESETS, StudySettings
from automl_ad.study.study import Study
from parts import state
from parts.audit_view import duplicates_marked, groups_marked, show_advice, show_figures, show_some, suspects_marked
from parts.blocks import empty_state, page_head, problem
from parts.folder_audit import audited
from parts.search_form import FormValues, next_name, open_form
from parts.suite_view import show_suite
from parts.wording import as_code, counted, plain, some_names

_PARTS = {
    "fit": ("train", "what detectors learn from"),
    "proxy": (
        "validation",
        "the normal side of the proxy suite, and what its anomalies are drawn on: ranks the trials",
    ),
    "certify": ("hold-out", "other images and other anomalies: with those of the proxy suite, the hold-out check"),
}
"""Splits by the names that databases keep: how they are called, and what they are for."""


def _pictures(study: Study, settings: StudySettings) -> None:
    try:
        report = audited(settings.images, settings.exclude)
    except AutomlAdError as error:
        problem(error)
        return
    st.caption(f"{as_code(settings.images)}, as it is now")
    show_figures(report)
    show_some(settings.images)
    show_advice(report, settings.images)
    if settings.exclude:
        st.caption(f"{counted(len(settings.exclude), 'image')} left out of this study: {some_names(settings.exclude)}")
    marked: list[str] = []
    if report.groups:
        st.subheader("Groups", anchor=False)
        st.caption("Every candidate learns all of them as good. Mark those that this search is not about.")
        marked += groups_marked(report, settings.images)
    if report.suspects:
        st.subheader("Unlike the others", anchor=False)
        st.caption("A defect among the good images teaches every candidate to accept it. Mark those that are not good.")
        marked += suspects_marked(report, settings.images)
    if report.duplicates:
        st.subheader("The same image more than once", anchor=False)
        st.caption("They count once, whatever you do: near-duplicates are never divided between learning and judging.")
        marked += duplicates_marked(report, settings.images)
    if report.suspects or report.duplicates or report.groups:
        _search_without(study, settings, marked)


def _search_without(study: Study, settings: StudySettings, marked: Sequence[str]) -> None:
    st.divider()
    st.markdown(f"{counted(len(set(marked)), 'image')} marked to be left out." if marked else "No image is marked.")
    if st.button("Start a new search without these", type="primary", disabled=not marked):
        taken = {summary.name for summary in summaries(state.workspace(), state.storage())}
        open_form(_form_values(settings, next_name(study.name, taken), marked))
        state.go("studies")


def _form_values(settings: StudySettings, name: str, marked: Sequence[str]) -> FormValues:
    known = settings.preset in PRESETS
    return FormValues(
        folder=str(settings.images),
        name=name,
        preset=settings.preset if known else PRESETS[0],
        time_budget=f"{settings.time_budget:g}s",
        trials=settings.trials,
        methods=() if known else settings.methods,
        backbones=settings.backbones if settings.explicit_backbones else (),
        weights_dir=str(settings.weights_dir or ""),
        exclude=tuple(sorted({*settings.exclude, *marked})),
    )


def _splits(study: Study) -> None:
    splits = study.repository.get_study(study.name).splits
    total = sum(len(members) for members in splits.values())
    rows = [
        {"Split": part, "Images": len(members), "Share": percent(len(members) / total, 0), "For": purpose}
        for name, members in splits.items()
        for part, purpose in (_PARTS.get(name, (name, "")),)
    ]
    st.markdown(
        f"The {counted(total, 'readable image')} of this study are divided by content: no image is in two parts, "
        "and near-duplicates stay together."
    )
    st.table(rows)


def _suite(study: Study) -> None:
    try:
        show_suite(Comparison(study, []))
    except AutomlAdError as error:
        empty_state("The proxy suite is not drawn yet", f"{plain(error)} A search draws it before its first trial.")
        return
    sheet = study.folder.suite / "sdas.png"
    if sheet.is_file():
        with st.expander("What the diffusion model drew (family sdas)"):
            st.image(str(sheet), alt="Contact sheet of the images that the diffusion model was judged by")


def _page() -> None:
    study = state.current_study()
    page_head("Data", "what the search learns from and what it judges by.", study.name)
    settings = study.settings
    warnings = study.repository.get_study(study.name).warnings
    if warnings:
        with st.expander(f"{counted(len(warnings), 'warning')} of the search", icon=":material/warning:"):
            st.markdown("\n".join(f"- {plain(_short(text, settings.images))}" for text in warnings))
    pictures, splits, suite = st.tabs(["Good images", "Splits", "Proxy suite"], key="data_tab", on_change="rerun")
    if pictures.open:
        with pictures:
            _pictures(study, settings)
    if splits.open:
        with splits:
            _splits(study)
    if suite.open:
        with suite:
            _suite(study)


def _short(text: str, folder: Path) -> str:
    return text.replace(f"{folder}/", "")


_page()
