"""Progress at a pace that costs the search nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from automl_ad.study.events import Event, Listener

QUIET_S = 1.0
"""Least time between two events of one stage that are passed on, in seconds."""


class Throttled:
    """A listener that passes on at most one event a second, and every change of stage at once; no warnings.

    An event that came too early follows when its time has come, unless a newer one takes its place: what was passed on
    last never stays behind what happened by more than a second.
    """

    def __init__(
        self, listener: Listener, quiet_s: float = QUIET_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._listener = listener
        self._quiet_s = quiet_s
        self._clock = clock
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._stage = ""
        self._due = 0.0
        self._newest: Event | None = None
        self._closed = False

    def __call__(self, event: Event) -> None:
        """Passes the event on, or keeps it for later."""
        if event.stage == "warning":
            return
        with self._lock:
            if self._closed:
                return
            self._newest = event
            wait = self._due - self._clock()
            if event.stage != self._stage or wait <= 0:
                self._pass_on(event)
            elif self._timer is None:
                self._timer = threading.Timer(wait, self._catch_up)
                self._timer.daemon = True  # an interrupted program must not wait for it
                self._timer.start()

    def close(self) -> Event | None:
        """Passes nothing on any more; returns the newest event, passed on or not."""
        with self._lock:
            self._forget_timer()
            self._closed = True
            return self._newest

    def _catch_up(self) -> None:
        with self._lock:
            if self._timer is not None and self._newest is not None:
                self._pass_on(self._newest)

    def _pass_on(self, event: Event) -> None:
        self._forget_timer()
        self._stage = event.stage
        self._due = self._clock() + self._quiet_s
        self._listener(event)

    def _forget_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
