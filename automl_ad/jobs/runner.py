"""The process of one job: ``python -m automl_ad.jobs.runner FOLDER``."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from filelock import FileLock

from automl_ad.errors import AutomlAdError
from automl_ad.jobs.folder import JobFolder
from automl_ad.study.progress import Event, Listener, StatusWriter
from automl_ad.workspace import STORAGE_VARIABLE

LOCK_PATIENCE_S = 10.0
"""Whoever asks whether the job lives holds its lock for a moment."""
_WATCH_S = 0.5


def main(root: Path) -> int:
    """Does the job in folder ``root``; returns the exit code."""
    folder = JobFolder(root.absolute())
    warnings.filterwarnings("ignore", module=r"PIL\.")  # about odd metadata, which do not help users
    with FileLock(folder.lock, timeout=LOCK_PATIENCE_S), _log_lines() as shown:
        status = StatusWriter(folder.status, folder.read_status())
        stopped, logged = threading.Event(), list[BaseException]()

        def tell(event: Event) -> None:
            if stopped.is_set():  # and yet the work goes on
                raise KeyboardInterrupt
            status(event)
            shown(event)

        try:
            with status.reporting_the_end(), _faults_logged(logged):  # whoever sees the end finds its reason in the log
                status.open()
                _listen_to_signals(stopped)
                _watch(folder.stop_sign)
                status.result = _perform(folder, tell)
        except KeyboardInterrupt:
            return 130
        except BaseException as error:
            if error not in logged:  # what the end could not be written for
                _log_fault(error)
            return 1
    return 0


def _perform(folder: JobFolder, tell: Listener) -> dict[str, Any]:
    # Imported here, where the lock is held and the page shows the job as running: it takes seconds.
    from automl_ad.jobs.tasks import perform

    return perform(folder, os.environ.pop(STORAGE_VARIABLE, None), tell)


def _listen_to_signals(stopped: threading.Event) -> None:
    """Makes what ends processes politely an interrupt, also where whoever started us ignored it.

    Args:
        stopped: Set when the interrupt is raised. Python drops one that is raised while it finalises an object, and
            callbacks of libraries may do so too: work that goes on is to be interrupted where it next tells of itself.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        for ending in (signal.SIGINT, signal.SIGTERM):
            signal.signal(ending, signal.SIG_IGN)  # a second one must not disturb the keeping of what is finished
        stopped.set()
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)


def _watch(stop_sign: Path) -> None:
    """Interrupts the main thread once, when the sign appears.

    A file rather than a signal from outside: a process without a console can be sent none on Windows, and by the time
    that a signal is sent its number may belong to another process.
    """
    main_thread = threading.main_thread()

    def look() -> None:
        while main_thread.is_alive():
            if stop_sign.exists():
                _interrupt_main(main_thread)
                return
            main_thread.join(_WATCH_S)

    threading.Thread(target=look, daemon=True).start()


def _interrupt_main(main_thread: threading.Thread) -> None:
    if sys.platform == "win32" or main_thread.ident is None:
        import _thread

        _thread.interrupt_main()
    else:
        signal.pthread_kill(main_thread.ident, signal.SIGINT)  # unlike the above, wakes it from a system call


@contextmanager
def _log_lines() -> Iterator[Listener]:
    """Yields a listener that writes a line to the log at intervals."""
    from rich.console import Console

    from automl_ad.reporting.progress_view import PlainProgress

    with PlainProgress(Console(width=160)) as view:
        yield view


@contextmanager
def _faults_logged(logged: list[BaseException]) -> Iterator[None]:
    """Writes the error that ends the block to the log, and appends it to ``logged``; an interrupt is none."""
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        _log_fault(error)
        logged.append(error)
        raise


def _log_fault(error: BaseException) -> None:
    with suppress(OSError):  # the disk may be full
        if isinstance(error, AutomlAdError):
            print(f"Error: {error}", flush=True)
        else:
            traceback.print_exception(error)


if __name__ == "__main__":
    if sys.platform != "win32":
        os.nice(5)  # people wait for the pages of the dashboard, and nobody for the next trial
    sys.exit(main(Path(sys.argv[1])))
