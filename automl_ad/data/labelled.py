"""Labelled images, good and defective, with their masks if there are any."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

GOOD = "good"
"""Defect type of images without a defect."""
UNSORTED = "defect"
"""Defect type of images whose folder names none."""


@dataclass(frozen=True)
class LabelledImage:
    """One image with ground truth.

    Attributes:
        path: The image file.
        anomalous: Whether it shows a defect.
        defect: Type of the defect, ``good`` for none.
        masks: Files of its masks, which are joined; none if it has none.
    """

    path: Path
    anomalous: bool
    defect: str
    masks: tuple[Path, ...] = ()
