"""Progress events, the progress file and the study lock."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from filelock import FileLock

from automl_ad.errors import InputError, StudyError
from automl_ad.store.artifacts import StudyFolder
from automl_ad.store.database import default_url
from automl_ad.store.records import utc_now
from automl_ad.study import progress
from automl_ad.study.progress import (
    Event,
    RunStatus,
    Throttled,
    ignore_events,
    is_locked,
    is_searched,
    progress_kept,
    read_progress,
    study_lock,
)


class Heard:
    """A throttled listener under a clock that is set by hand."""

    def __init__(self, quiet_s: float = 60.0) -> None:
        self.events: list[Event] = []
        self.now = 100.0
        self.throttled = Throttled(self.events.append, quiet_s, lambda: self.now)

    def tell(self, done: int, stage: str = "search") -> list[int]:
        self.throttled(Event(stage, "Trying", done))
        return [event.done for event in self.events]


@pytest.fixture
def heard() -> Heard:
    return Heard()


def test_one_event_a_while_and_every_change_of_stage(heard: Heard) -> None:
    assert heard.tell(1) == [1]
    heard.now += 59
    assert heard.tell(2) == [1]
    assert heard.tell(3, "certify") == [1, 3]
    heard.now += 60
    assert heard.tell(4, "certify") == [1, 3, 4]
    heard.throttled.close()


def test_warnings_are_not_passed_on_and_delay_nothing(heard: Heard) -> None:
    assert heard.tell(1, "warning") == []
    assert heard.tell(2) == [2]
    assert heard.throttled.close() == heard.events[-1]


def test_the_newest_of_those_that_came_too_early_follows() -> None:
    heard = Heard(quiet_s=0.1)
    for done in range(5):
        heard.tell(done)
    deadline = time.monotonic() + 20
    while len(heard.events) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [event.done for event in heard.events] == [0, 4]
    heard.throttled.close()


def test_after_the_end_nothing_follows_and_the_newest_is_known() -> None:
    heard = Heard(quiet_s=0.05)
    heard.tell(1)
    heard.tell(2)
    newest = heard.throttled.close()
    time.sleep(0.15)
    assert newest is not None
    assert newest.done == 2
    assert heard.tell(3) == [1]


def test_without_events_there_is_no_newest(heard: Heard) -> None:
    assert heard.throttled.close() is None


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    return StudyFolder(tmp_path / "ws", "parts")


def test_a_search_is_seen_while_it_lasts(folder: StudyFolder) -> None:
    url = default_url(folder.workspace)
    assert not is_searched(folder, url)
    with study_lock(folder, url):
        assert is_searched(folder, url)
        assert not is_searched(StudyFolder(folder.workspace, "other"), url)
    assert not is_searched(folder, url)


def test_two_workspaces_on_one_sqlite_file_see_each_other(folder: StudyFolder, tmp_path: Path) -> None:
    url = default_url(tmp_path)
    with study_lock(folder, url):
        assert is_searched(StudyFolder(tmp_path / "elsewhere", "parts"), url)


def test_on_a_server_the_lock_lies_with_the_study(folder: StudyFolder) -> None:
    with study_lock(folder, "postgresql://host/base"):
        assert (folder.root / ".lock").is_file()
        assert is_searched(folder, "postgresql://host/base")


def test_a_second_search_is_refused_in_one_sentence(folder: StudyFolder) -> None:
    url = default_url(folder.workspace)
    with study_lock(folder, url), pytest.raises(StudyError, match=r"Study parts is being searched.*another --name\.$"):  # noqa: SIM117
        with study_lock(folder, url):
            pass


def test_asking_creates_nothing_and_takes_a_moment(folder: StudyFolder, tmp_path: Path) -> None:
    assert not is_searched(folder, default_url(folder.workspace))
    assert list(tmp_path.iterdir()) == []
    lock = tmp_path / "lock"
    with FileLock(lock):
        start = time.monotonic()
        assert is_locked(lock)
        assert time.monotonic() - start < 0.5
    assert not is_locked(lock)


def test_whoever_asks_does_not_make_a_search_fail(folder: StudyFolder) -> None:
    """The lock is held by a reader when the search begins, and released soon after."""
    import threading

    url = default_url(folder.workspace)
    with study_lock(folder, url):
        pass
    lock = FileLock(next(folder.workspace.glob(".*.lock")), thread_local=False)
    lock.acquire()
    threading.Timer(0.2, lock.release).start()
    with study_lock(folder, url):
        assert is_searched(folder, url)


def note(folder: StudyFolder) -> RunStatus:
    found = read_progress(folder)
    assert found is not None
    return found


def test_what_was_told_last_can_be_read_from_outside(folder: StudyFolder) -> None:
    heard: list[Event] = []
    before = utc_now()
    with progress_kept(folder, heard.append) as tell:
        tell(Event("search", "Trying", 3, 20, 1.5, 60.0, "trial 1: padim"))
        tell(Event("warning", "Few images."))
        running = note(folder)
        assert (running.state, running.error) == ("running", None)
        assert running.event == Event("search", "Trying", 3, 20, 1.5, 60.0, "trial 1: padim")
        assert running.pid == os.getpid()
        assert before <= running.at <= utc_now()
    assert note(folder).state == "done"
    assert note(folder).event == running.event
    assert [event.stage for event in heard] == ["search", "warning"]


def test_the_last_leader_stays_known_until_the_end(folder: StudyFolder) -> None:
    heard: list[Event] = []
    with progress_kept(folder, heard.append) as tell:
        tell(Event("search", "Trying", leader="trial 1: padim"))
        tell(Event("finish", "Trial 1 wins"))
    assert note(folder).event == Event("finish", "Trial 1 wins", leader="trial 1: padim")
    assert heard[-1].leader is None


@pytest.mark.parametrize(
    ("fault", "state", "error"),
    [
        (KeyboardInterrupt(), "stopped", None),
        (InputError("Give more images."), "failed", "Give more images."),
        (ValueError("odd\nlines"), "failed", "Unexpected error: ValueError: odd"),
        (MemoryError(), "failed", "Unexpected error: MemoryError"),
    ],
)
def test_how_it_ended_is_noted(folder: StudyFolder, fault: BaseException, state: str, error: str | None) -> None:
    with pytest.raises(type(fault)), progress_kept(folder, ignore_events) as tell:  # noqa: PT012
        tell(Event("audit", "Reading"))
        raise fault
    assert (note(folder).state, note(folder).error) == (state, error)


def test_file_names_that_are_no_text_can_be_noted(folder: StudyFolder) -> None:
    with progress_kept(folder, ignore_events) as tell:
        tell(Event("audit", "Reading /data/\udcff"))
    assert note(folder).event.message == "Reading /data/?"


def test_a_disk_that_takes_nothing_disturbs_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "studies").write_text("a file where folders should be")
    monkeypatch.setattr(progress, "_WRITE_PAUSE_S", 0)
    heard: list[Event] = []
    folder = StudyFolder(tmp_path, "parts")
    with progress_kept(folder, heard.append) as tell:
        tell(Event("audit", "Reading"))
    assert len(heard) == 1
    assert read_progress(folder) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"event": 3}', b"\xff"])
def test_a_note_that_cannot_be_read_counts_as_none(folder: StudyFolder, content: bytes) -> None:
    assert read_progress(folder) is None
    folder.root.mkdir(parents=True)
    (folder.root / "progress.json").write_bytes(content)
    assert read_progress(folder) is None


def test_the_ending_is_written_when_a_reader_is_in_the_way_for_a_moment(
    folder: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, refusals = os.replace, iter([True, True])

    def busy(source: str, target: str) -> None:
        if "progress" in str(target) and next(refusals, False):
            raise PermissionError(13, "in use")
        replace(source, target)

    with progress_kept(folder, ignore_events) as tell:
        tell(Event("audit", "Reading"))
        monkeypatch.setattr(os, "replace", busy)
    assert note(folder).state == "done"
