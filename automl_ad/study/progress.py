"""How a search reports its progress, and which process is at it: events, the progress file and the study lock."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from automl_ad.errors import StoreError, StudyError, describe_error_to_user
from automl_ad.store.artifacts import StudyFolder, read_note, write_note
from automl_ad.store.database import sqlite_file
from automl_ad.store.records import utc_now


@dataclass(frozen=True)
class Event:
    """One step of progress.

    Attributes:
        stage: ``audit``, ``suite``, ``sdas``, ``search``, ``average``, ``certify``, ``defects``, ``finish``,
            ``assess``, ``try`` or ``warning``.
        message: One sentence or phrase for people.
        done: Units finished in this stage.
        total: Units expected in this stage, if known.
        elapsed_s: Seconds since the search began.
        left_s: Seconds expected until the stage ends, in stage ``search`` until the search ends; None if unknown.
        leader: The leading candidate, described in a phrase.
    """

    stage: str
    message: str
    done: int = 0
    total: int | None = None
    elapsed_s: float = 0.0
    left_s: float | None = None
    leader: str | None = None


Listener = Callable[[Event], None]


def ignore_events(event: Event) -> None:
    """A listener for searches that nobody watches."""
    del event


QUIET_S = 1.0
"""Least time between two events of one stage that are passed on, in seconds."""


class Throttled:
    """A listener that passes on at most one event a second, and every change of stage at once; no warnings.

    An event that came too early follows when its time has come, unless a newer one takes its place: what was passed on
    last never stays behind what happened by more than a second.
    """

    def __init__(
        self, listener: Listener, quiet_s: float = QUIET_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._listener = listener
        self._quiet_s = quiet_s
        self._clock = clock
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._stage = ""
        self._due = 0.0
        self._newest: Event | None = None
        self._closed = False

    def __call__(self, event: Event) -> None:
        """Passes the event on, or keeps it for later."""
        if event.stage == "warning":
            return
        with self._lock:
            if self._closed:
                return
            self._newest = event
            wait = self._due - self._clock()
            if event.stage != self._stage or wait <= 0:
                self._pass_on(event)
            elif self._timer is None:
                self._timer = threading.Timer(wait, self._catch_up)
                self._timer.daemon = True  # an interrupted program must not wait for it
                self._timer.start()

    def close(self) -> Event | None:
        """Passes nothing on any more; returns the newest event, passed on or not."""
        with self._lock:
            self._forget_timer()
            self._closed = True
            return self._newest

    def _catch_up(self) -> None:
        with self._lock:
            if self._timer is not None and self._newest is not None:
                self._pass_on(self._newest)

    def _pass_on(self, event: Event) -> None:
        self._forget_timer()
        self._stage = event.stage
        self._due = self._clock() + self._quiet_s
        self._listener(event)

    def _forget_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None


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


RunState = Literal["running", "done", "failed", "stopped"]

_WRITE_ATTEMPTS, _WRITE_PAUSE_S = 5, 0.02


@dataclass(frozen=True)
class RunStatus:
    """How a search or a job of the dashboard stands, as its process writes it.

    Attributes:
        state: ``running`` also where the process was killed; whether its lock is held tells (`Study.searching`).
        event: The last event that was no warning; None before the first.
        error: Why it failed, in one sentence.
        result: The outcome of a job, once it is done.
        started_at: When it was started, aware, UTC.
        at: When this was written, aware, UTC.
        ended_at: When it ended, aware, UTC.
        pid: Of its process; None until that has begun.
        host: Where it runs.
    """

    state: RunState = "running"
    event: Event | None = None
    error: str | None = None
    result: dict[str, Any] | None = None
    started_at: datetime = field(default_factory=utc_now)
    at: datetime = field(default_factory=utc_now)
    ended_at: datetime | None = None
    pid: int | None = None
    host: str = field(default_factory=socket.gethostname)


def read_progress(folder: StudyFolder) -> RunStatus | None:
    """The status of the newest search of a study; None if there was none, or it cannot be read."""
    return read_note(_progress_file(folder), RunStatus)


class StatusWriter:
    """A listener that keeps a status file up to date, at most once a second, and writes how the run ended.

    A status that cannot be written is left out: no search may fail or wait for it.

    Args:
        path: The file.
        status: What is known at the start.

    Attributes:
        result: The outcome, to be set before the run ends.
    """

    def __init__(self, path: Path, status: RunStatus) -> None:
        self._path = path
        self._status = replace(status, pid=os.getpid(), host=socket.gethostname())
        self._events = Throttled(self._write_event)
        self._leader: str | None = None
        self.result: dict[str, Any] | None = None

    def open(self) -> None:
        """Writes that the process has begun."""
        self._write_surely(self._status)

    def __call__(self, event: Event) -> None:
        """Writes the event, now or within a second; the leader, named while candidates are tried, is kept."""
        self._leader = event.leader or self._leader
        self._events(replace(event, leader=self._leader))

    def close(self, state: RunState, error: str | None) -> None:
        """Writes how the run ended."""
        now = utc_now()
        newest = self._events.close()
        self._write_surely(
            replace(self._status, state=state, event=newest, error=error, result=self.result, at=now, ended_at=now)
        )

    @contextmanager
    def reporting_the_end(self) -> Iterator[None]:
        """Writes how the block ended and, where it failed, the sentence that says why."""
        try:
            yield
        except KeyboardInterrupt:
            self.close("stopped", None)
            raise
        except BaseException as error:
            self.close("failed", describe_error_to_user(error))
            raise
        self.close("done", None)

    def _write_event(self, event: Event) -> None:
        self._write(replace(self._status, event=event, at=utc_now()))

    def _write(self, status: RunStatus) -> bool:
        try:
            write_note(self._path, status)
        except StoreError:  # a full disk is no reason to stop the work itself
            return False
        return True

    def _write_surely(self, status: RunStatus) -> None:
        """Tries several times: Windows replaces no file that somebody is reading, and no later write would follow."""
        for _ in range(_WRITE_ATTEMPTS):
            if self._write(status):
                return
            time.sleep(_WRITE_PAUSE_S)


@contextmanager
def progress_kept(folder: StudyFolder, listener: Listener) -> Iterator[Listener]:
    """Yields a listener that also keeps a study's progress file; that the block ended, and how, is written there.

    Args:
        folder: The study's folder.
        listener: Called with every event at once.
    """
    writer = StatusWriter(_progress_file(folder), RunStatus())

    def tell(event: Event) -> None:
        writer(event)
        listener(event)

    with writer.reporting_the_end():
        yield tell


def _progress_file(folder: StudyFolder) -> Path:
    return folder.root / "progress.json"
