"""Starts, lists and stops the jobs of a workspace."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from filelock import FileLock

from automl_ad.bundle.precision import Precision
from automl_ad.data.folder import find_images, without
from automl_ad.data.listing import list_images
from automl_ad.errors import InputError, StoreError
from automl_ad.jobs import process
from automl_ad.jobs.folder import JobFolder, jobs_folder
from automl_ad.jobs.specification import ExportTask, JobKind, JobSpecification, SearchTask, Task, TryTask
from automl_ad.store.artifacts import StudyFolder, read_note, write_note
from automl_ad.store.database import default_url
from automl_ad.store.records import utc_now
from automl_ad.study.progress import Event, RunState, RunStatus, already_searched, is_locked, is_searched
from automl_ad.study.settings import StudySettings, changed_settings, requested_settings
from automl_ad.study.study import Study

KEPT = 50
"""Finished jobs that are kept."""
BEGINNING = timedelta(seconds=60)
"""How long the process of a job may take before it holds its lock, on a slow machine."""
_KILLED = "Its process was ended from outside or ran out of memory; what had finished is kept, so start it again."


@dataclass(frozen=True)
class JobState:
    """How a job stands.

    Attributes:
        id: The job's id.
        kind: ``search``, ``export`` or ``try``.
        study: Name of its study.
        state: ``running``, ``done``, ``failed`` or ``stopped``.
        event: Its last event that was no warning.
        error: Why it failed, in one sentence.
        result: What it found, once it is done.
        started_at, ended_at: Aware, UTC; ``ended_at`` is None while it runs and where it was killed.
        log_tail: The last lines of its log.
    """

    id: str
    kind: JobKind
    study: str
    state: RunState
    event: Event | None
    error: str | None
    result: dict[str, Any] | None
    started_at: datetime
    ended_at: datetime | None
    log_tail: str


class JobBoard:
    """The jobs of one workspace; cheap to make, keeps nothing open."""

    def __init__(self, workspace: Path, storage: str | None = None) -> None:
        """Looks at nothing yet.

        Args:
            workspace: The workspace folder.
            storage: Database URL; the workspace's SQLite file when None.
        """
        self._workspace = workspace.absolute()
        self._storage = storage

    def start_search(self, images: Path, *, name: str | None = None, **options: Any) -> str:
        """Starts a search, or one that goes on with the study of this name.

        Args:
            images: Folder of good images.
            name: Name of the study; the folder's by default.
            **options: As of `automl_ad.api.search`, without ``workspace``, ``storage`` and ``listener``.

        Returns:
            The job's id.

        Raises:
            InputError: The folder or an option cannot be used.
            StudyError: The study is being searched.
        """
        settings = requested_settings(images, name=name, **options)
        return self._start_search(name or images.absolute().name, settings)

    def resume_search(
        self,
        study: str,
        *,
        time_budget: float | str | None = None,
        trials: int | None = None,
        images: Path | None = None,
    ) -> str:
        """Starts a search that goes on with a study and all its settings.

        Args:
            study: Name of the study.
            time_budget: For this run, in place of that of the study: seconds, or text such as ``10m``.
            trials: Most candidates in all, in place of those of the study.
            images: Where its good images are now, if they were moved.

        Returns:
            The job's id.

        Raises:
            InputError: Its images are gone, or an option is out of range.
            StudyError: There is no such study, or it is being searched.
        """
        settings = Study.open(study, self._workspace, self._storage, images=images).settings
        return self._start_search(study, changed_settings(settings, time_budget=time_budget, trials=trials))

    def start_export(
        self, study: str, trial: str | int = "best", precision: Precision = "fp32", images: Path | None = None
    ) -> str:
        """Starts writing the bundle of one trial: ``bundle.zip`` in the job's folder.

        Args:
            study: Name of the study.
            trial: ``best``, ``picked`` or a trial number.
            precision: ``fp32``, ``fp16`` or ``int8``.
            images: Where the study's good images are now, if they were moved.

        Returns:
            The job's id; its result is ``bundle``, the path of the file, and ``manifest``.

        Raises:
            StudyError: There is no such study or complete trial.
        """
        number = Study.open(study, self._workspace, self._storage).chosen(trial).number
        return self._start(study, ExportTask(trial=number, precision=precision, images=images))

    def start_try(self, study: str, trials: Sequence[int], pictures: Path, images: Path | None = None) -> str:
        """Starts letting some trials judge images; see `automl_ad.reporting.user_image_trials.try_images`.

        Args:
            study: Name of the study.
            trials: Numbers of complete trials.
            pictures: Folder with ``unlabelled``, ``good`` and ``defect`` in it, or some of these.
            images: Where the study's good images are now, if they were moved.

        Returns:
            The job's id.

        Raises:
            InputError: No trial is named, or there are no images.
            StudyError: There is no such study or complete trial.
        """
        opened = Study.open(study, self._workspace, self._storage)
        numbers = tuple(opened.chosen(number).number for number in dict.fromkeys(trials))
        if not numbers:
            raise InputError("No trial is chosen; choose one or more complete ones.")
        if not (pictures.is_dir() and list_images(pictures)):
            raise InputError(f"{pictures} holds no pictures; add some first.")
        return self._start(study, TryTask(trials=numbers, pictures=pictures.absolute(), images=images))

    def state(self, job: str) -> JobState:
        """How a job stands.

        Raises:
            InputError: There is no such job.
        """
        found = _state(JobFolder.of(self._workspace, job))
        if found is None:
            raise InputError(f"Job {job} cannot be read; start it again.")
        return found

    def jobs(self, study: str | None = None, kind: JobKind | None = None) -> list[JobState]:
        """The jobs, newest first; of one study or kind where named."""
        states = [state for folder in JobFolder.all(self._workspace) if (state := _state(folder, study, kind))]
        return sorted(states, key=lambda state: (state.started_at, state.id), reverse=True)

    def stop(self, job: str) -> None:
        """Asks a job to stop, as Ctrl-C does: everything finished is kept. Nothing happens where it has ended.

        Raises:
            InputError: There is no such job.
            StoreError: The disk is full.
        """
        sign = JobFolder.of(self._workspace, job).stop_sign
        try:
            sign.touch()
        except OSError as error:
            raise StoreError(
                f"{sign} cannot be written ({error.strerror}); free the disk and stop it again."
            ) from error

    def _start_search(self, study: str, settings: StudySettings) -> str:
        folder = StudyFolder(self._workspace, study)
        without(find_images(settings.images), settings.images, settings.exclude)
        with self._starting():
            busy = any(job.state == "running" for job in self.jobs(study, "search"))
            if busy or is_searched(folder, self._storage or default_url(self._workspace)):
                raise already_searched(study)
            return self._start(study, SearchTask(settings=settings))

    def _starting(self) -> FileLock:
        """Lets one search start at a time, so that two that are asked for together notice each other."""
        jobs = jobs_folder(self._workspace)
        try:
            jobs.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"Workspace {self._workspace} cannot be written ({error.strerror}); choose another --workspace."
            ) from error
        return FileLock(jobs / ".starting.lock")

    def _start(self, study: str, task: Task) -> str:
        folder = JobFolder.new(self._workspace)
        try:
            write_note(folder.specification, JobSpecification(study=study, task=task))
            write_note(folder.status, RunStatus())
            process.start(folder, self._storage)
        except BaseException:
            shutil.rmtree(folder.root, ignore_errors=True)
            raise
        self._prune()
        return folder.id

    def _prune(self) -> None:
        ended = [job for job in self.jobs() if job.state != "running"]
        for job in ended[KEPT:]:
            with suppress(InputError):
                shutil.rmtree(JobFolder.of(self._workspace, job.id).root, ignore_errors=True)


def _state(folder: JobFolder, study: str | None = None, kind: JobKind | None = None) -> JobState | None:
    """How a job stands; None if it is not of this study and kind, or its specification cannot be read."""
    wanted = read_note(folder.specification, JobSpecification)
    if wanted is None or study not in (None, wanted.study) or kind not in (None, wanted.task.kind):
        return None
    status = folder.read_status()
    state, error = status.state, status.error
    if state == "running" and _dead(folder, status):
        status = folder.read_status()  # it may have ended between the two looks
        state, error = (status.state, status.error) if status.state != "running" else ("failed", _KILLED)
    return JobState(
        id=folder.id,
        kind=wanted.task.kind,
        study=wanted.study,
        state=state,
        event=status.event,
        error=error,
        result=status.result,
        started_at=wanted.at,
        ended_at=status.ended_at,
        log_tail=folder.log_tail(),
    )


def _dead(folder: JobFolder, status: RunStatus) -> bool:
    """Whether nothing does the job any more: a process that has not begun yet holds no lock either."""
    if is_locked(folder.lock):
        return False
    begun = status.pid is not None or process.known_dead(folder)
    return begun or utc_now() - status.started_at > BEGINNING
