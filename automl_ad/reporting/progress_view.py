"""Shows a running search on stderr: a live line on a terminal, now and then a plain line elsewhere."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from automl_ad.formatting import format_duration

if TYPE_CHECKING:
    from rich.console import Console

    from automl_ad.study.progress import Event

QUIET_S = 10.0
"""Least time between two plain lines of one stage, in seconds; it grows with the length of the search."""


class ProgressView(Protocol):
    """A context manager that listens to a search."""

    def __enter__(self) -> ProgressView:
        """Starts showing."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Stops showing; whatever was printed stays."""
        ...

    def __call__(self, event: Event, /) -> None:
        """Shows one step."""
        ...


def progress_view(console: Console) -> ProgressView:
    """The view that suits where the console writes to."""
    return LiveProgress(console) if console.is_terminal else PlainProgress(console)


@contextmanager
def log_view(console: Console, verbose: bool) -> Iterator[None]:
    """Prints what the package logs inside the block, above a live line; nothing unless ``verbose``."""
    if not verbose:
        yield
        return
    handler, package = _ConsoleHandler(console), logging.getLogger("automl_ad")
    level = package.level
    package.addHandler(handler)
    package.setLevel(logging.INFO)
    try:
        yield
    finally:
        package.setLevel(level)
        package.removeHandler(handler)


class _ConsoleHandler(logging.Handler):
    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Prints one record."""
        _say(self._console, f"{record.levelname} {record.name}: {record.getMessage()}")


class PlainProgress:
    """Prints a line when a stage begins or ends, for each warning, and else at growing intervals."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._stage = ""
        self._due = 0.0
        self._start = clock()

    def __enter__(self) -> PlainProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        return None

    def __call__(self, event: Event, /) -> None:
        """Prints the event if it is worth a line."""
        if event.stage == "warning":
            _say(self._console, f"Warning: {event.message}")
            return
        now = self._clock()
        if event.stage != self._stage or now >= self._due or event.done == event.total:
            self._stage = event.stage
            self._due = now + max(QUIET_S, 0.05 * (now - self._start))
            _say(self._console, _line(event))


class LiveProgress:
    """One line that is redrawn: stage, units done, time left, leader."""

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, Progress, TextColumn
        from rich.table import Column

        self._console = console
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[facts]}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
            console=console,
            refresh_per_second=4,
            transient=True,
        )
        self._task = self._progress.add_task("Starting", total=None, facts="")

    def __enter__(self) -> LiveProgress:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        with suppress(OSError):
            self._progress.stop()

    def __call__(self, event: Event, /) -> None:
        """Redraws the line; warnings stay above it."""
        if event.stage == "warning":
            _say(self._console, f"Warning: {event.message}")
            return
        facts = ", ".join(_facts(event))
        what = event.message or event.stage
        self._progress.update(self._task, description=what, total=event.total, completed=event.done, facts=facts)


def _line(event: Event) -> str:
    when = f"{format_duration(event.elapsed_s)}: " if event.elapsed_s > 0 else ""
    facts = ", ".join(_facts(event))
    return f"{when}{event.message or event.stage}" + (f" ({facts})" if facts else "")


def _facts(event: Event) -> list[str]:
    facts = [f"{event.done}/{event.total}"] if event.total else []
    facts += [f"{format_duration(event.left_s)} left"] if event.left_s is not None else []
    return facts + ([f"leader {event.leader}"] if event.leader else [])


def _say(console: Console, line: str) -> None:
    # A reader that has gone away (2>&1 | head) must not end the search that it was watching.
    with suppress(OSError):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
