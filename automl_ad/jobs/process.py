"""Starts the process of a job so that it outlives the one that starts it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from automl_ad.errors import StoreError
from automl_ad.jobs.folder import JobFolder
from automl_ad.workspace import STORAGE_VARIABLE, TOKEN_VARIABLE

_CHILDREN: dict[str, subprocess.Popen[bytes]] = {}


def start(folder: JobFolder, storage: str | None) -> None:
    """Starts the process of a job whose specification is written.

    Args:
        folder: The job's folder.
        storage: Database URL; the workspace's SQLite file when None.

    Raises:
        StoreError: The log cannot be written, or the system starts no more processes.
    """
    command = [sys.executable, "-m", "automl_ad.jobs.runner", str(folder.root)]
    try:
        with folder.log.open("ab") as log:
            _CHILDREN[folder.id] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_environment(storage),
                **_detached(),
            )
    except OSError as error:
        raise StoreError(
            f"The job in {folder.root} cannot be started ({error.strerror}); free memory and disk, then try again."
        ) from error


def known_dead(folder: JobFolder) -> bool:
    """Whether the job's process was started by this one and has ended; lets the system forget it, too."""
    child = _CHILDREN.get(folder.id)
    return child is not None and child.poll() is not None


def _environment(storage: str | None) -> dict[str, str]:
    hidden = {STORAGE_VARIABLE, TOKEN_VARIABLE}
    kept = {key: value for key, value in os.environ.items() if key not in hidden}
    # Threads that spin while they wait halve torch's speed as soon as anything else runs on a small machine.
    added = {"OMP_WAIT_POLICY": kept.get("OMP_WAIT_POLICY", "PASSIVE")}
    # The log must take every character that a file name may hold.
    added |= {"PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8:backslashreplace"}
    return kept | added | ({} if storage is None else {STORAGE_VARIABLE: storage})


def _detached() -> dict[str, Any]:
    """Out of reach of the signals that end a terminal or what was started in it."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}
