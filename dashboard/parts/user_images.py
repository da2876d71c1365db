"""Images that a reader brings to try candidates with, kept in the workspace under what is known of them."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from automl_ad.data.listing import list_images
from automl_ad.data.safe_names import safe_part
from automl_ad.data.uploads import UploadLimits, store_images
from automl_ad.errors import InputError
from parts.wording import counted

LIMITS = UploadLimits(files=200, file_bytes=64 << 20, total_bytes=2 << 30)
"""For one study: enough to see with, and no archive."""
LABELS = ("unlabelled", "good", "defect")
_LONGEST_TYPE = 40


@dataclass(frozen=True)
class Shelf:
    """The images brought for one study.

    Attributes:
        folder: Holds ``good``, ``defect`` (sub-folders name the types) and ``unlabelled``.
    """

    folder: Path

    @classmethod
    def of(cls, workspace: Path, study: str) -> Shelf:
        """The shelf of a study.

        Args:
            workspace: The workspace folder.
            study: A study that exists, so that its name can be a folder's.
        """
        return cls(workspace / "uploads" / "try" / study)

    def add(self, files: Sequence[tuple[str, bytes]], label: str, kind: str = "") -> int:
        """Stores images.

        Args:
            files: Names as the browser sent them, and contents.
            label: One of `LABELS`.
            kind: Type of the defect, for the label ``defect``; any text.

        Returns:
            How many were stored.

        Raises:
            InputError: There are too many, or one is too large or no image.
            StoreError: The disk is full.
        """
        if label not in LABELS:
            raise InputError(f"An image is {', '.join(LABELS[:-1])} or {LABELS[-1]}, but not {label[:20]!r}.")
        room = LIMITS.files - sum(self.counts().values())
        if len(files) > room:
            raise InputError(f"{LIMITS.files} images are kept at most, there is room for {room}; remove some first.")
        target = self.folder / label
        if label == "defect" and folder_name(kind):
            target /= folder_name(kind)
        return len(store_images(files, target, LIMITS))

    def counts(self) -> Counter[str]:
        """How many images there are by label, the type of the defect behind a slash: ``defect/scratch``."""
        found: Counter[str] = Counter()
        for label in LABELS:
            for path in self._pictures(label):
                below = path.relative_to(self.folder / label).parts
                found[f"{label}/{below[0]}" if label == "defect" and len(below) > 1 else label] += 1
        return found

    def _pictures(self, label: str) -> list[Path]:
        folder = self.folder / label
        return list_images(folder) if folder.is_dir() else []

    def clear(self) -> None:
        """Removes all images."""
        shutil.rmtree(self.folder, ignore_errors=True)


def folder_name(kind: str) -> str:
    """The type of a defect as the name of a folder: letters, digits and _ alone, so that it leads nowhere else."""
    text = re.sub(r"\W+", "_", kind.strip()[:_LONGEST_TYPE]).strip("_")
    return safe_part(text) if text else ""


def in_words(counts: Counter[str]) -> str:
    """What is on the shelf: "3 images: good 1, defect (scratch) 2"."""
    named = (f"{_spoken(name)} {count}" for name, count in sorted(counts.items()))
    return f"{counted(sum(counts.values()), 'image')}: {', '.join(named)}"


def _spoken(name: str) -> str:
    label, _, kind = name.partition("/")
    return f"{label} ({kind})" if kind else label
