"""What the dashboard looks at: its workspace, the study that is open, and the work that runs for it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from automl_ad.errors import AutomlAdError
from automl_ad.jobs import JobBoard
from automl_ad.store.database import default_url, open_engine
from automl_ad.store.repository import Repository
from automl_ad.study.study import Study
from automl_ad.workspace import STORAGE_VARIABLE, workspace_folder
from parts.address import choose_trials, chosen_trials, go, link, parameter, set_parameters, study_name
from parts.blocks import empty_state, problem

if TYPE_CHECKING:
    from automl_ad.reporting.trial_table import TrialTable

__all__ = [
    "board",
    "choose_trials",
    "chosen_trials",
    "current_study",
    "go",
    "is_searching",
    "link",
    "open_study",
    "parameter",
    "set_parameters",
    "storage",
    "study_name",
    "trial_table",
    "workspace",
]


def workspace() -> Path:
    """The workspace that this dashboard shows."""
    return workspace_folder(None)


def storage() -> str | None:
    """The database's URL, if it is not the workspace's own file."""
    return os.environ.get(STORAGE_VARIABLE) or None


def board() -> JobBoard:
    """The work in progress of the workspace."""
    return JobBoard(workspace(), storage())


def open_study(name: str) -> Study:
    """Opens a study; all readers share its connections.

    Raises:
        AutomlAdError: There is no such study, or no database.
    """
    return _opened(name, str(workspace()), storage())


def current_study() -> Study:
    """The study in the address; where there is none, says what to do and ends the page."""
    name = study_name()
    if name is None:
        empty_state(
            "No study is open", "Open a study, or start a search, to see this page.", "studies", "Go to Studies"
        )
        st.stop()
    try:
        return open_study(name)
    except AutomlAdError as error:
        problem(error)
        link("studies", "Go to Studies", study=None)
        st.stop()


def trial_table(study: Study) -> TrialTable:
    """The ranked table of a study, with what happened since it was last looked at."""
    table = _table(study.name, str(workspace()), storage())
    table.refresh()
    return table


def is_searching(study: Study) -> bool:
    """Whether some process searches this study now."""
    return study.searching


@st.cache_resource(show_spinner=False, max_entries=64)
def _opened(name: str, folder: str, url: str | None) -> Study:
    return Study.open(name, folder, url)


@st.cache_resource(show_spinner=False, max_entries=16)
def _table(name: str, folder: str, url: str | None) -> TrialTable:
    from automl_ad.reporting.trial_table import TrialTable

    return TrialTable(Repository(open_engine(url or default_url(Path(folder)), must_exist=True)), name)
