"""The files of one job, and the lock that tells whether it lives."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from automl_ad.errors import InputError
from automl_ad.store.artifacts import read_note
from automl_ad.study.progress import RunStatus

_ID = re.compile(r"[0-9a-f]{16}")
_TAIL_BYTES = 4000


@dataclass(frozen=True)
class JobFolder:
    """Where a job keeps its files.

    Attributes:
        root: The job's own folder, ``jobs/ID`` in the workspace.
    """

    root: Path

    @classmethod
    def new(cls, workspace: Path) -> JobFolder:
        """A folder for a new job; nothing is created."""
        return cls(jobs_folder(workspace) / secrets.token_hex(8))

    @classmethod
    def of(cls, workspace: Path, job: str) -> JobFolder:
        """The folder of a job that exists.

        Raises:
            InputError: There is no such job.
        """
        folder = cls(jobs_folder(workspace) / job) if _ID.fullmatch(job) else None
        if folder is None or not folder.specification.is_file():
            raise InputError(f"There is no job {job[:40]!r} in {workspace}; only the newest finished ones are kept.")
        return folder

    @classmethod
    def all(cls, workspace: Path) -> list[JobFolder]:
        """The folders of all jobs, in no order."""
        root = jobs_folder(workspace)
        found = sorted(root.iterdir()) if root.is_dir() else []
        folders = [cls(path) for path in found if _ID.fullmatch(path.name)]
        return [folder for folder in folders if folder.specification.is_file()]

    @property
    def id(self) -> str:
        """The job's id."""
        return self.root.name

    @property
    def workspace(self) -> Path:
        """The workspace that it belongs to."""
        return self.root.parent.parent

    @property
    def specification(self) -> Path:
        """What is to be done."""
        return self.root / "job.json"

    @property
    def status(self) -> Path:
        """How far it is."""
        return self.root / "status.json"

    @property
    def lock(self) -> Path:
        """Held by the job's process for as long as it lives."""
        return self.root / "lock"

    @property
    def stop_sign(self) -> Path:
        """Asks the job to stop, once it is there."""
        return self.root / "stop"

    @property
    def log(self) -> Path:
        """What the job's process printed."""
        return self.root / "log.txt"

    def read_status(self) -> RunStatus:
        """The newest status; a running one before the first was written."""
        return read_note(self.status, RunStatus) or RunStatus()

    def log_tail(self) -> str:
        """The last lines of the log."""
        try:
            with self.log.open("rb") as file:
                size = file.seek(0, 2)
                file.seek(max(0, size - _TAIL_BYTES))
                tail = file.read().decode("utf-8", "replace")
        except OSError:
            return ""
        return tail.partition("\n")[2] if size > _TAIL_BYTES else tail


def jobs_folder(workspace: Path) -> Path:
    """Where a workspace keeps its jobs."""
    return workspace / "jobs"
