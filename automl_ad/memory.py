"""Memory that this process may still use, and sentences about the lack of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from automl_ad.errors import AutomlAdError, NotEnoughMemoryError

GIB = 2**30
_UNLIMITED = 2**60
"""Limits above this number of bytes are none."""
_EXHAUSTED = ("can't allocate memory", "not enough memory", "insufficient memory", "out of memory", "bad_alloc")
"""How libraries of other languages say that there was no memory."""


def free_bytes() -> int | None:
    """Bytes that this process may still take: the least that machine, control group and resource limits allow.

    Returns:
        None where the system tells none of these.
    """
    found = [limit for read in (_of_machine, _of_address_space, _of_group) if (limit := _tried(read)) is not None]
    return max(0, min(found)) if found else None


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory could not be had, whichever library raised it."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return type(error).__name__ in ("RuntimeError", "error", "RuntimeException") and any(
        phrase in str(error).lower() for phrase in _EXHAUSTED
    )


@contextmanager
def memory_explained(what: str) -> Iterator[None]:
    """Turns a lack of memory inside the block into one sentence.

    Args:
        what: What ran, such as ``The search``.

    Raises:
        NotEnoughMemoryError: Memory ran out.
    """
    try:
        yield
    except AutomlAdError:
        raise
    except Exception as error:
        if not ran_out_of_memory(error):
            raise
        raise NotEnoughMemoryError(
            f"{what} ran out of memory; give a smaller --image-size or fewer images, or end other programs."
        ) from error


def format_bytes(count: float) -> str:
    """Bytes for people.

    >>> format_bytes(3 * 2**29)
    '1.5 GB'
    """
    return f"{count / GIB:.1f} GB"


def _tried(read: Callable[[], int | None]) -> int | None:
    with suppress(OSError, ValueError, ImportError, KeyError, IndexError):
        return read()
    return None


def _of_machine() -> int | None:
    facts = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    return 1024 * int(facts["MemAvailable"].split()[0])


def _of_address_space() -> int | None:
    """What ``ulimit -v`` leaves."""
    if sys.platform == "win32":
        return None
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY or limit > _UNLIMITED:
        return None
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    return limit - used


def _of_group() -> int | None:
    """What the control group of a container leaves, whichever version the kernel has."""
    lefts = [_group_left(*files) for files in _GROUP_FILES]
    return min((left for left in lefts if left is not None), default=None)


_GROUP_FILES = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current"), Path("/sys/fs/cgroup/memory.stat")),
    (
        Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
        Path("/sys/fs/cgroup/memory/memory.usage_in_bytes"),
        Path("/sys/fs/cgroup/memory/memory.stat"),
    ),
)
"""Limit, use and details, of version 2 and of version 1."""


def _group_left(limit: Path, used: Path, details: Path) -> int | None:
    with suppress(OSError, ValueError):
        most = int(limit.read_text())
        if most > _UNLIMITED:
            return None
        return most - int(used.read_text()) + _reclaimable(details)
    return None


def _reclaimable(details: Path) -> int:
    """Bytes of cached files, which the kernel gives back when memory is asked for."""
    with suppress(OSError, ValueError):
        facts = dict(line.split() for line in details.read_text().splitlines())
        return int(facts.get("inactive_file", 0))
    return 0
