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
        total: Units expected; may be told later, by `reach`.
        clock: Reading of a clock in seconds.
    """

    def __init__(
        self, listener: Listener, stage: str, total: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._listener = listener
        self._stage = stage
        self._total = total
        self._clock = clock
        self._start = clock()
        self._done = 0
        self._message = ""

    def begin(self, message: str) -> None:
        """Names what is done from now on."""
        self.reach(message, self._done, self._total)

    def advance(self, units: int = 1) -> None:
        """Counts units that are done."""
        self.reach(self._message, min(self._done + units, self._total), self._total)

    def reach(self, message: str, done: int, total: int) -> None:
        """Tells what is done now, how many units are done, and of how many."""
        self._message, self._done, self._total = message, done, total
        left = (self._clock() - self._start) / done * (total - done) if done else None
        self._listener(Event(self._stage, message, done, total, left_s=left))
