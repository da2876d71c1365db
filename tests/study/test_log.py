"""The log of a study and the tracebacks of its failed trials."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from automl_ad.store.artifacts import StudyFolder
from automl_ad.study.log import LOG_FILE, log_start, save_traceback, study_log


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    return StudyFolder(tmp_path / "ws", "parts")


def test_what_the_package_logs_inside_the_block_is_in_the_file_and_nothing_else(folder: StudyFolder) -> None:
    inside, other = logging.getLogger("automl_ad.study.anything"), logging.getLogger("another")
    with study_log(folder) as path:
        inside.info("one %d", 1)
        other.error("not ours")
    inside.warning("after the end")
    assert path == folder.root / LOG_FILE
    (line,) = path.read_text(encoding="utf-8").splitlines()
    assert line.endswith("Z INFO automl_ad.study.anything: one 1")


def test_a_second_run_appends(folder: StudyFolder) -> None:
    for number in (1, 2):
        with study_log(folder) as path:
            logging.getLogger("automl_ad").info("run %d", number)
    assert [line[-5:] for line in path.read_text().splitlines()] == ["run 1", "run 2"]


def test_the_callers_own_logging_is_left_as_it_was(folder: StudyFolder) -> None:
    package = logging.getLogger("automl_ad")
    before = (package.level, list(package.handlers), package.propagate)
    with pytest.raises(KeyError), study_log(folder):
        raise KeyError
    assert (package.level, list(package.handlers), package.propagate) == before


def test_settings_and_versions_are_logged(folder: StudyFolder) -> None:
    with study_log(folder) as path:
        log_start({"seed": 7, "methods": ("padim", "dfr")})
    text = path.read_text()
    assert "Setting seed = 7" in text
    assert "Setting methods = ('padim', 'dfr')" in text
    assert "torch 2." in text
    assert "Python 3." in text


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "ws").write_text("a file where the workspace should be")
    with study_log(StudyFolder(tmp_path / "ws", "parts")):
        logging.getLogger("automl_ad").info("lost")
    assert (tmp_path / "ws").read_text().startswith("a file")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_a_full_disk_prints_nothing(folder: StudyFolder, capsys: pytest.CaptureFixture[str]) -> None:
    folder.root.mkdir(parents=True)
    (folder.root / LOG_FILE).symlink_to("/dev/full")
    with study_log(folder):
        logging.getLogger("automl_ad").info("lost")
    assert capsys.readouterr() == ("", "")


def test_a_traceback_lies_in_the_trials_folder(folder: StudyFolder) -> None:
    def broken() -> None:
        raise RuntimeError("no such luck")

    try:
        broken()
    except RuntimeError as error:
        path = save_traceback(folder, 3, error)
    assert path == folder.trial(3) / "traceback.txt"
    text = path.read_text()
    assert text.startswith("Traceback (most recent call last):")
    assert "in broken" in text
    assert text.endswith("RuntimeError: no such luck\n")


def test_a_traceback_that_cannot_be_written_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "ws").write_text("a file")
    assert save_traceback(StudyFolder(tmp_path / "ws", "parts"), 0, ValueError("x")) is None
