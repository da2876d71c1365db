"""What pages show of trials' files, read once for all readers and all reruns."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from automl_ad.reporting.comparison import Comparison
from automl_ad.reporting.operating_points import OperatingPoints
from automl_ad.study.study import Study


def comparison(study: Study, numbers: Sequence[int]) -> Comparison:
    """Trials on the images of the proxy suite."""
    return _comparison(_identity(study), tuple(numbers), study)


def operating_points(study: Study, number: int) -> OperatingPoints:
    """Thresholds of a trial."""
    return _operating_points(_identity(study), number, study)


@st.cache_resource(show_spinner=False, max_entries=16)
def _comparison(identity: tuple[str, ...], numbers: tuple[int, ...], _study: Study) -> Comparison:
    return Comparison(_study, numbers)


@st.cache_resource(show_spinner=False, max_entries=64)
def _operating_points(identity: tuple[str, ...], number: int, _study: Study) -> OperatingPoints:
    return OperatingPoints(_study, number)


def _identity(study: Study) -> tuple[str, ...]:
    """Another study of the same name, made after the first was deleted, must not be taken for it."""
    record = study.repository.get_study(study.name)
    return study.url, str(study.folder.root), record.created_at.isoformat(), str(record.suite_hash)
