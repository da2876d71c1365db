"""Files that were not read, counted by reason, so that nobody has to guess why a number is smaller than the folder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from automl_ad.data.reading import page_count
from automl_ad.results import LeftAside

_WORDS: dict[str, tuple[str, str]] = {
    "ending": ("file with an ending that no image has", "files with endings that no image has"),
    "hidden": ("hidden file or folder", "hidden files and folders"),
    "link": ("link to a folder", "links to folders"),
    "page": ("further page of a file of several", "further pages of files of several"),
    "mask": ("mask", "masks"),
    "two-valued": ("image of two values, as masks have", "images of two values, as masks have"),
    "defective": ("image in a folder of defects", "images in folders of defects"),
    "other part": ("image of another part of the data set", "images of other parts of the data set"),
    "no label": ("image without a label", "images without a label"),
    "elsewhere": ("image outside of the data set's folders", "images outside of the data set's folders"),
}
_WITH_PAGES = (".tif", ".tiff", ".gif", ".webp", ".apng")
REASONS = tuple(_WORDS)
"""Why a file can be left aside."""
_EXAMPLES = 2


class LeftAsideFiles:
    """Collects files that are not read.

    Example:
        >>> aside = LeftAsideFiles(Path("parts"))
        >>> aside.add("ending", Path("parts/notes.txt"))
        >>> print(left_aside_sentence(aside.summary()))
        Left aside: 1 file with an ending that no image has (notes.txt).
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._found: dict[str, list[tuple[str, int]]] = {reason: [] for reason in REASONS}

    def add(self, reason: str, path: Path, count: int = 1) -> None:
        """Notes one file, or ``count`` pages of it, under one of `REASONS`."""
        self._found[reason].append((_name_below(self._root, path), count))

    def add_all(self, reason: str, paths: Iterable[Path]) -> None:
        """Notes several files."""
        for path in paths:
            self.add(reason, path)

    def add_pages(self, path: Path) -> None:
        """Notes the pages of an image file but the first."""
        if path.suffix.lower() in _WITH_PAGES and (pages := page_count(path)) > 1:
            self.add("page", path, pages - 1)

    def copy(self) -> LeftAsideFiles:
        """A collection of its own with the same files."""
        other = LeftAsideFiles(self._root)
        other._found = {reason: list(noted) for reason, noted in self._found.items()}
        return other

    def summary(self) -> tuple[LeftAside, ...]:
        """One entry a reason, in the order of `REASONS`; none for reasons without files."""
        return tuple(
            LeftAside(
                reason=reason,
                count=sum(count for _, count in noted),
                examples=tuple(name for name, _ in sorted(noted)[:_EXAMPLES]),
            )
            for reason, noted in self._found.items()
            if noted
        )


def left_aside_sentence(entries: Sequence[LeftAside]) -> str:
    """One line on what was not read and why; empty where everything was read."""
    if not entries:
        return ""
    return f"Left aside: {'; '.join(_phrase(entry) for entry in entries)}."


def merged(*parts: Sequence[LeftAside]) -> tuple[LeftAside, ...]:
    """The entries of several folders, one a reason."""
    by_reason: dict[str, list[LeftAside]] = {reason: [] for reason in REASONS}
    for entry in (entry for part in parts for entry in part):
        by_reason[entry.reason].append(entry)
    return tuple(
        LeftAside(
            reason=reason,
            count=sum(entry.count for entry in entries),
            examples=tuple(name for entry in entries for name in entry.examples)[:_EXAMPLES],
        )
        for reason, entries in by_reason.items()
        if entries
    )


def _phrase(entry: LeftAside) -> str:
    one, several = _WORDS.get(entry.reason, (entry.reason, entry.reason))
    more = ", ..." if entry.count > len(entry.examples) else ""
    return f"{entry.count} {one if entry.count == 1 else several} ({', '.join(entry.examples)}{more})"


def _name_below(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else os.fspath(path)
