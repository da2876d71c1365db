"""What a running search tells those who watch it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """One step of progress.

    Attributes:
        stage: ``audit``, ``suite``, ``sdas``, ``search``, ``average``, ``certify``, ``defects``, ``finish``,
            ``assess``, ``try`` or ``warning``.
        message: One sentence or phrase for people.
        done: Units finished in this stage.
        total: Units expected in this stage, if known.
        elapsed_s: Seconds since the search began.
        left_s: Seconds expected until it ends, if known.
        leader: The candidate that leads, in words.
    """

    stage: str
    message: str
    done: int = 0
    total: int | None = None
    elapsed_s: float = 0.0
    left_s: float | None = None
    leader: str | None = None


Listener = Callable[[Event], None]


def ignore_events(event: Event) -> None:
    """A listener for searches that nobody watches."""
    del event
