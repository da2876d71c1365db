"""What the jobs do, by the library that everything else uses."""

from __future__ import annotations

from typing import Any

from automl_ad.bundle.loading import load_bundle
from automl_ad.errors import StoreError
from automl_ad.jobs.folder import JobFolder
from automl_ad.jobs.specification import ExportTask, JobSpecification, SearchTask, TryTask
from automl_ad.store.artifacts import StudyFolder, read_note
from automl_ad.store.plain_json import plain
from automl_ad.study.progress import Listener
from automl_ad.study.study import Study


def perform(folder: JobFolder, storage: str | None, tell: Listener) -> dict[str, Any]:
    """Does what the job's specification says.

    Args:
        folder: The job's folder.
        storage: Database URL; the workspace's SQLite file when None.
        tell: Called with progress.

    Returns:
        What was found, in plain values.

    Raises:
        StoreError: The specification cannot be read.
        AutomlAdError: What the task raises.
    """
    wanted = read_note(folder.specification, JobSpecification)
    if wanted is None:
        raise StoreError(f"{folder.specification} cannot be read; start the job again.")
    match wanted.task:
        case SearchTask() as task:
            found = _search(task, StudyFolder(folder.workspace, wanted.study), storage, tell)
        case ExportTask() as task:
            study = Study.open(wanted.study, folder.workspace, storage, images=task.images)
            found = _export(task, study, folder, tell)
        case TryTask() as task:
            study = Study.open(wanted.study, folder.workspace, storage, images=task.images)
            found = _try(task, study, folder, tell)
    return dict(plain(found))


def _search(task: SearchTask, folder: StudyFolder, storage: str | None, tell: Listener) -> dict[str, Any]:
    answer = Study.run(task.settings, folder, storage, tell).answer()
    return {"study": folder.name, "winner": answer.winner.to_json(), "tied": answer.tied}


def _export(task: ExportTask, study: Study, folder: JobFolder, tell: Listener) -> dict[str, Any]:
    path = study.export(folder.root / "bundle.zip", task.trial, tell, task.precision)
    return {"bundle": str(path), "manifest": load_bundle(path).manifest}


def _try(task: TryTask, study: Study, folder: JobFolder, tell: Listener) -> dict[str, Any]:
    from automl_ad.reporting.user_image_trials import try_images

    return try_images(study, task.trials, task.pictures, folder.root, tell)
