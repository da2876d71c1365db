"""The time budget of one run, and how far a stage of it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from automl_ad.study.progress import Event, Listener


@dataclass
class Clock:
    """The wall-clock budget of one run.

    Attributes:
        budget_s: Seconds that the whole run may take.
        started: Reading of ``time.monotonic`` at its start.
    """

    budget_s: float
    started: float = field(default_factory=time.monotonic)

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    @property
    def remaining(self) -> float:
        """Seconds left of the budget, negative once it is spent."""
        return self.budget_s - self.elapsed


def timed(listener: Listener, clock: Clock) -> Listener:
    """A listener that adds the seconds since the run began to each event."""

    def tell(event: Event) -> None:
        listener(replace(event, elapsed_s=clock.elapsed))

    return tell


class Steps:
    """Tells how many units of a stage are done, and how long the others will take at the same pace.

    Args:
        listener: Called with progress.
        stage: See ``Event``.
        total: Units expected.
        clock: Reading of a clock in seconds.
    """

    def __init__(self, listener: Listener, stage: str, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._listener = listener
        self._stage = stage
        self._total = total
        self._clock = clock
        self._start = clock()
        self._done = 0
        self._message = ""

    def begin(self, message: str) -> None:
        """Names what is done from now on."""
        self._message = message
        self._tell()

    def advance(self, units: int = 1) -> None:
        """Counts units that are done."""
        self._done = min(self._done + units, self._total)
        self._tell()

    def _tell(self) -> None:
        pace = (self._clock() - self._start) / self._done if self._done else None
        left = None if pace is None else pace * (self._total - self._done)
        self._listener(Event(self._stage, self._message, self._done, self._total, left_s=left))
