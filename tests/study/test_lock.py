from __future__ import annotations

import time
from pathlib import Path

import pytest
from filelock import FileLock

from automl_ad.errors import StudyError
from automl_ad.store.artifacts import StudyFolder
from automl_ad.store.database import default_url
from automl_ad.study.lock import is_locked, is_searched, study_lock


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
