"""A small file in which every search says how far it is, for whoever looks from outside."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Literal

from automl_ad.errors import StoreError, describe_error_to_user
from automl_ad.store.artifacts import StudyFolder
from automl_ad.store.notes import read_note, write_note
from automl_ad.store.records import utc_now
from automl_ad.study.events import Event, Listener
from automl_ad.study.throttled import Throttled

RunState = Literal["running", "done", "failed", "stopped"]

_LAST_TRIES, _BETWEEN_TRIES_S = 5, 0.02


@dataclass(frozen=True)
class ProgressNote:
    """How far a search is.

    Attributes:
        event: The last event that was no warning.
        at: When the note was written, aware, UTC.
        state: ``running`` also where the process was killed; `Study.searching` tells.
        error: Why it failed, in one sentence.
        pid: Of the searching process.
        host: Where it runs.
    """

    event: Event
    at: datetime = field(default_factory=utc_now)
    state: RunState = "running"
    error: str | None = None
    pid: int = field(default_factory=os.getpid)
    host: str = field(default_factory=socket.gethostname)


def read_progress(folder: StudyFolder) -> ProgressNote | None:
    """What the newest search of a study said last; None if there was none, or its note cannot be read."""
    return read_note(_file(folder), ProgressNote)


@contextmanager
def progress_kept(folder: StudyFolder, listener: Listener) -> Iterator[Listener]:
    """Lends a listener that also keeps a study's progress file, and notes there how the block ends.

    A note that cannot be written is left out: no search may fail or wait for it.

    Args:
        folder: The study's folder.
        listener: Hears every event as it comes.
    """
    path = _file(folder)

    def note(event: Event) -> None:
        tried(path, ProgressNote(event))

    notes = Throttled(note)

    leader: str | None = None

    def tell(event: Event) -> None:
        nonlocal leader
        leader = event.leader or leader  # said only while candidates are tried, asked for until the end
        notes(replace(event, leader=leader))
        listener(event)

    def close(state: RunState, error: str | None) -> None:
        newest = notes.close()
        if newest is not None:
            insist(path, ProgressNote(newest, state=state, error=error))

    with ending_told(close):
        yield tell


@contextmanager
def ending_told(close: Callable[[RunState, str | None], None]) -> Iterator[None]:
    """Calls ``close`` with how the block ended and, where it failed, the sentence that says why."""
    try:
        yield
    except KeyboardInterrupt:
        close("stopped", None)
        raise
    except BaseException as error:
        close("failed", describe_error_to_user(error))
        raise
    close("done", None)


def tried(path: Path, note: object) -> bool:
    """Whether a note could be written; a full disk is no reason to stop the work that it tells of."""
    try:
        write_note(path, note)
    except StoreError:
        return False
    return True


def insist(path: Path, note: object) -> bool:
    """As `tried`, several times: Windows replaces no file that somebody is reading, and no later note would follow."""
    for _ in range(_LAST_TRIES):
        if tried(path, note):
            return True
        time.sleep(_BETWEEN_TRIES_S)
    return False


def _file(folder: StudyFolder) -> Path:
    return folder.root / "progress.json"
