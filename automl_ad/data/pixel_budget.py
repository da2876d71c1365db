"""One limit on the pixels that all reading threads of a process hold in memory together."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.pool import ThreadPool
from threading import Condition
from typing import TypeVar

from joblib import cpu_count

LIMIT = 128_000_000
"""Pixels in memory together; a decoded pixel takes 1 to 10 bytes, depending on its format."""

Item = TypeVar("Item")
Found = TypeVar("Found")


class PixelBudget:
    """Lets threads hold decoded images while these have at most ``limit`` pixels together.

    A larger image is let through when nothing else is held. Threads are served in the order in which they asked, so
    that many small images cannot keep a large one waiting.

    Args:
        limit: Pixels.
    """

    # The runtime of bundles stands alone and so repeats this class; tests cover both.
    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._held = 0
        self._waiting: deque[object] = deque()
        self._changed = Condition()

    @contextmanager
    def hold(self, pixels: int) -> Iterator[None]:
        """Waits until so many pixels fit, and counts them until the block ends. Not to be nested."""
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            try:
                self._changed.wait_for(lambda: self._waiting[0] is ticket and self._fits(pixels))
                self._held += pixels
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._held -= pixels
                self._changed.notify_all()

    def _fits(self, pixels: int) -> bool:
        return not self._held or self._held + pixels <= self.limit


PIXELS = PixelBudget(LIMIT)
"""The budget of this process."""


def reading_threads() -> int:
    """Threads that read files: one per core that this process may use, by its CPU affinity and container limits."""
    return int(cpu_count())


def in_threads(
    function: Callable[[Item], Found],
    items: Sequence[Item],
    threads: int | None = None,
    tell: Callable[[int, int], None] | None = None,
) -> list[Found]:
    """Calls a function that reads a file for each item, in threads.

    Args:
        function: Called once an item.
        items: Its arguments.
        threads: How many; `reading_threads` when None.
        tell: Called with how many items are done, and how many there are, after each.

    Returns:
        The results in the order of the items.
    """
    with ThreadPool(threads or reading_threads()) as pool:
        found: list[Found] = []
        for one in pool.imap(function, items):
            found.append(one)
            if tell is not None:
                tell(len(found), len(items))
        return found
