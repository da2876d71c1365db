from __future__ import annotations

import os
from pathlib import Path

import pytest

from automl_ad.errors import InputError
from automl_ad.store.artifacts import StudyFolder
from automl_ad.store.records import utc_now
from automl_ad.study import progress_file
from automl_ad.study.events import Event, ignore_events
from automl_ad.study.progress_file import ProgressNote, progress_kept, read_progress


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    return StudyFolder(tmp_path, "parts")


def note(folder: StudyFolder) -> ProgressNote:
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
        (ValueError("odd\nlines"), "failed", "An unexpected fault ended it: ValueError: odd"),
        (MemoryError(), "failed", "An unexpected fault ended it: MemoryError"),
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
    monkeypatch.setattr(progress_file, "_BETWEEN_TRIES_S", 0)
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
