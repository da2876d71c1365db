"""The log of a study: ``log.txt`` in its folder, with settings, versions, and each trial's start, end and reason.

Everything below the logger ``automl_ad`` is written there while the study is searched, whatever the program that calls
the library does with its own logging.
"""

from __future__ import annotations

import logging
import platform
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from automl_ad.errors import StoreError
from automl_ad.store.artifacts import StudyFolder, write_atomically

LOG_FILE, TRACEBACK_FILE = "log.txt", "traceback.txt"
_FORMAT = "%(asctime)sZ %(levelname)s %(name)s: %(message)s"
_PACKAGES = ("automl-ad", "torch", "torchvision", "timm", "optuna", "numpy", "scikit-learn", "diffusers")

_log = logging.getLogger(__name__)


@contextmanager
def study_log(folder: StudyFolder) -> Iterator[Path]:
    """Appends what is logged inside the block to the study's ``log.txt``.

    A log that cannot be written does not stop a search.

    Args:
        folder: The study's folder, which is created.

    Yields:
        The log file.
    """
    path = folder.root / LOG_FILE
    handler = _handler(path)
    package = logging.getLogger("automl_ad")
    level = package.level
    package.addHandler(handler)
    if package.getEffectiveLevel() > logging.INFO:
        package.setLevel(logging.INFO)
    try:
        yield path
    finally:
        package.setLevel(level)
        package.removeHandler(handler)
        with suppress(OSError):  # a full disk takes the rest of the buffer neither
            handler.close()


def log_start(settings: Mapping[str, Any]) -> None:
    """Logs versions and settings, one a line, in the order given."""
    _log.info("Python %s on %s", platform.python_version(), platform.platform())
    _log.info("Versions: %s", ", ".join(f"{name} {_version(name)}" for name in _PACKAGES))
    for name, value in settings.items():
        _log.info("Setting %s = %s", name, value)


def save_traceback(folder: StudyFolder, number: int, error: BaseException) -> Path | None:
    """Writes the traceback of a failed trial into the trial's folder.

    Returns:
        The file; None where it cannot be written: the reason in the database must do.
    """
    path = folder.trial(number) / TRACEBACK_FILE
    try:
        with write_atomically(path) as temporary:
            temporary.write_text("".join(traceback.format_exception(error)), encoding="utf-8", errors="replace")
    except StoreError:
        return None
    return path


def _handler(path: Path) -> logging.Handler:
    handler: logging.Handler = logging.NullHandler()
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = _QuietFileHandler(path, encoding="utf-8", errors="backslashreplace")
    formatter = logging.Formatter(_FORMAT)
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    return handler


class _QuietFileHandler(logging.FileHandler):
    """A file handler that gives up silently: a full disk must not fill the terminal with tracebacks."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # the name that logging calls
        """Does nothing."""


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
