"""One search of a study at a time, whichever process it runs in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from automl_ad.errors import StoreError, StudyError
from automl_ad.store.artifacts import StudyFolder
from automl_ad.store.database import sqlite_file

PATIENCE_S = 1.0
"""How long a search waits for the lock: whoever only asks whether the study is searched holds it for a moment."""
_PROBE_S = 0.004
"""Longer than another one who only asks holds it."""


def is_searched(folder: StudyFolder, url: str) -> bool:
    """Whether a process searches the study right now, as far as its lock can be seen from this machine."""
    return is_locked(_lock_file(folder, url))


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock of this file; takes milliseconds."""
    if not path.exists():
        return False
    try:
        with FileLock(path, timeout=_PROBE_S, poll_interval=_PROBE_S / 4):
            return False
    except Timeout:
        return True
    except OSError:  # may only be read, so that no process of this user can hold it
        return False


@contextmanager
def study_lock(folder: StudyFolder, url: str) -> Iterator[None]:
    """Keeps other processes from searching the same study; the lock falls with the process, however it ends.

    Raises:
        StudyError: Another process searches it.
        StoreError: The lock file cannot be written.
    """
    path = _lock_file(folder, url)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, timeout=PATIENCE_S)
        lock.acquire()
    except Timeout as error:
        raise already_searched(folder.name) from error
    except OSError as error:
        raise StoreError(
            f"Workspace {folder.workspace} cannot be written ({error.strerror}); choose another --workspace."
        ) from error
    try:
        yield
    finally:
        lock.release()


def already_searched(name: str) -> StudyError:
    """The refusal of a second search."""
    return StudyError(f"Study {name} is being searched by another process; wait for it or use another --name.")


def _lock_file(folder: StudyFolder, url: str) -> Path:
    """Beside the SQLite file, so that two workspaces on one database see it; else in the study's folder."""
    database = sqlite_file(url)
    if database is None:
        return folder.root / ".lock"
    return database.with_name(f".{database.name}.{folder.name}.lock")
