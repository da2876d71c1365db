from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from automl_ad.errors import StudyError
from automl_ad.jobs import runner, tasks
from automl_ad.jobs.folder import JobFolder
from automl_ad.store.artifacts import write_note
from automl_ad.study.progress import Event, Listener, RunState, RunStatus, StatusWriter

Work = Callable[[Listener], dict[str, Any]]


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """A runner takes over the signals of its process, which here is that of the tests."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    folder = JobFolder.new(tmp_path)
    write_note(folder.status, RunStatus())
    return folder


@pytest.fixture
def run(folder: JobFolder, monkeypatch: pytest.MonkeyPatch) -> Callable[[Work], int]:
    def do(work: Work) -> int:
        monkeypatch.setattr(tasks, "perform", lambda _, storage, tell: work(tell))
        return runner.main(folder.root)

    return do


def test_a_job_says_how_far_it_is_and_what_it_found(run: Callable[[Work], int], folder: JobFolder) -> None:
    begun = folder.read_status()

    def work(tell: Listener) -> dict[str, Any]:
        tell(Event("search", "Trying", 1, 3))
        tell(Event("warning", "Few images."))
        status = folder.read_status()
        assert (status.state, status.event, status.result) == ("running", Event("search", "Trying", 1, 3), None)
        assert status.pid is not None
        return {"found": [1, 2]}

    assert run(work) == 0
    status = folder.read_status()
    assert (status.state, status.result, status.error) == ("done", {"found": [1, 2]}, None)
    assert status.event == Event("search", "Trying", 1, 3)
    assert status.started_at == begun.started_at
    assert status.ended_at is not None


def test_a_known_error_is_told_as_it_is(
    run: Callable[[Work], int], folder: JobFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(tell: Listener) -> dict[str, Any]:
        raise StudyError("There is no such trial.")

    assert run(work) == 1
    status = folder.read_status()
    assert (status.state, status.error) == ("failed", "There is no such trial.")
    assert "Error: There is no such trial." in capsys.readouterr().out


def test_whoever_sees_that_a_job_failed_finds_the_reason_in_its_log(
    run: Callable[[Work], int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logged: dict[str, str] = {}
    close = StatusWriter.close

    def note_log(writer: StatusWriter, state: RunState, error: str | None) -> None:
        logged[state] = capsys.readouterr().out
        close(writer, state, error)

    def work(tell: Listener) -> dict[str, Any]:
        raise StudyError("There is no such trial.")

    monkeypatch.setattr(StatusWriter, "close", note_log)
    assert run(work) == 1
    assert "Error: There is no such trial." in logged["failed"]


def test_an_end_that_cannot_be_written_is_in_the_log(
    run: Callable[[Work], int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: Any) -> None:
        raise TypeError("not to be written")

    monkeypatch.setattr(StatusWriter, "close", broken)
    assert run(lambda tell: {}) == 1
    assert "TypeError: not to be written" in "".join(capsys.readouterr())


def test_any_other_error_is_unexpected_and_its_traceback_is_in_the_log(
    run: Callable[[Work], int], folder: JobFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(tell: Listener) -> dict[str, Any]:
        raise ZeroDivisionError("by zero\nsecond line")

    assert run(work) == 1
    error = folder.read_status().error
    assert error == "Unexpected error: ZeroDivisionError: by zero"
    assert "Traceback" in capsys.readouterr().err


def test_the_stop_sign_interrupts_once(run: Callable[[Work], int], folder: JobFolder) -> None:
    cleaned: list[bool] = []

    def work(tell: Listener) -> dict[str, Any]:
        threading.Timer(0.1, folder.stop_sign.touch).start()
        try:
            time.sleep(60)
        finally:
            time.sleep(1.2)  # longer than the sign is looked for
            cleaned.append(True)
        return {}

    start = time.monotonic()
    assert run(work) == 130
    assert time.monotonic() - start < 30
    assert cleaned == [True]
    assert folder.read_status().state == "stopped"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_that_a_finaliser_swallows_takes_effect_with_the_next_event(
    run: Callable[[Work], int], folder: JobFolder
) -> None:
    class Slow:
        def __del__(self) -> None:
            time.sleep(2)

    told: list[int] = []

    def work(tell: Listener) -> dict[str, Any]:
        folder.stop_sign.touch()
        Slow()
        for step in range(100):
            tell(Event("search", "Trying", step, 100))
            told.append(step)
        return {}

    assert run(work) == 130
    assert told == []
    assert folder.read_status().state == "stopped"


def test_a_job_that_was_stopped_before_it_began_stops_at_once(run: Callable[[Work], int], folder: JobFolder) -> None:
    folder.stop_sign.touch()

    def work(tell: Listener) -> dict[str, Any]:
        time.sleep(60)
        return {}

    assert run(work) == 130


def test_a_second_process_does_not_touch_a_job_that_lives(
    run: Callable[[Work], int], folder: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from filelock import FileLock, Timeout

    monkeypatch.setattr(runner, "LOCK_PATIENCE_S", 0.05)
    with FileLock(folder.lock), pytest.raises(Timeout):
        run(lambda tell: {})
    assert folder.read_status().pid is None
