"""The studies of a workspace at a glance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from automl_ad.methods.names import ENSEMBLE
from automl_ad.results import SearchOutcome
from automl_ad.selection.ranking import describe_candidate
from automl_ad.store.artifacts import StudyFolder
from automl_ad.store.database import default_url, open_engine, sqlite_file
from automl_ad.store.records import StudyRecord
from automl_ad.store.repository import Repository
from automl_ad.study.progress import RunStatus, read_progress
from automl_ad.study.study import Study


@dataclass(frozen=True)
class StudyOverview:
    """One study in a list.

    Attributes:
        name: Its name.
        created_at: When it was begun, aware, UTC.
        images: Folder of its images.
        state: ``searching`` while a process is at it; else ``finished`` when it has an answer.
        counts: Number of searched trials in each state, ensembles left out; states without trials are left out.
        progress: Status of its newest search; None if it is not known.
        leader: The winner, or else the candidate that leads, in words; empty when there is none yet.
        picked: The trial that a user chose; None if none is, or the choice was taken back.
        warnings: How many warnings the study carries.
    """

    name: str
    created_at: datetime
    images: str
    state: Literal["searching", "unfinished", "finished"]
    counts: Mapping[str, int]
    progress: RunStatus | None
    leader: str
    picked: int | None
    warnings: int


def summaries(workspace: Path, storage: str | None = None) -> list[StudyOverview]:
    """All studies, the newest first; none where nothing was searched yet.

    Trials are counted, not read, so that a list of large studies comes at once.

    Args:
        workspace: Their workspace.
        storage: Database URL; the workspace's SQLite file when None.

    Raises:
        StoreError: The database fails.
    """
    url = storage or default_url(workspace)
    file = sqlite_file(url)
    if file is not None and not file.exists():
        return []
    engine = open_engine(url, must_exist=True)
    try:
        repository = Repository(engine)
        return [_summary(record, workspace, url, repository) for record in reversed(repository.list_studies())]
    finally:
        engine.dispose()


def _summary(record: StudyRecord, workspace: Path, url: str, repository: Repository) -> StudyOverview:
    study = Study(StudyFolder(workspace, record.name), url, repository)
    progress, pick = read_progress(study.folder), repository.newest_pick(record.name)
    return StudyOverview(
        name=record.name,
        created_at=record.created_at,
        images=record.images,
        state=_state(record, study),
        counts=repository.counts(record.name, without=ENSEMBLE),
        progress=progress,
        leader=_leader(record, progress),
        picked=pick.number if pick else None,
        warnings=len(record.warnings),
    )


def _state(record: StudyRecord, study: Study) -> Literal["searching", "unfinished", "finished"]:
    if record.answer is not None:  # a search that begins again takes it back first
        return "finished"
    return "searching" if study.searching else "unfinished"


def _leader(record: StudyRecord, progress: RunStatus | None) -> str:
    if record.answer is None:
        return (progress.event.leader if progress and progress.event else None) or ""
    winner = SearchOutcome.model_validate(record.answer).winner
    return describe_candidate(winner.trial, winner.method, winner.backbone, winner.proxy_score)
