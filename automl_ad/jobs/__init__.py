"""Background jobs in processes that outlive the one that starts them: searches, exports, judging user images.

Importing this package loads nothing else: a job takes its lock before it loads what it works with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from automl_ad.jobs.board import JobBoard, JobState

__all__ = ["JobBoard", "JobState"]


def __getattr__(name: str) -> Any:
    """Fetches one of the public names."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from automl_ad.jobs import board

    return getattr(board, name)
