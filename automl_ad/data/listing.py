"""Walks a folder: its image files, its tables, and what is neither."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from automl_ad.data.left_aside import LeftAsideFiles
from automl_ad.data.reading import IMAGE_SUFFIXES
from automl_ad.errors import InputError

_TABLES = frozenset({".csv", ".json"})


@dataclass(frozen=True)
class Listing:
    """What lies below a folder.

    Attributes:
        root: The folder.
        images: Image files, by their names, sorted.
        tables: CSV and JSON files, sorted.
        left_aside: Where to note what is not read; links, hidden and other files are in it already.
    """

    root: Path
    images: tuple[Path, ...]
    tables: tuple[Path, ...]
    left_aside: LeftAsideFiles


def list_folder(root: Path) -> Listing:
    """Walks a folder with its sub-folders; links to folders are not followed, hidden files not read.

    Raises:
        InputError: The folder or one below it may not be read.
    """
    aside, images, tables = LeftAsideFiles(root), [], []
    for here, folders, files in os.walk(root, onerror=_refuse_unreadable):
        place = Path(here)
        hidden = [name for name in (*folders, *files) if name.startswith(".")]
        links = [name for name in folders if name not in hidden and (place / name).is_symlink()]
        aside.add_all("hidden", (place / name for name in hidden))
        aside.add_all("link", (place / name for name in links))
        folders[:] = [name for name in folders if name not in (*hidden, *links)]
        for name in files:
            suffix = os.path.splitext(name)[1].lower()
            if name.startswith("."):
                continue
            if suffix in IMAGE_SUFFIXES:
                images.append(place / name)
            elif suffix in _TABLES:
                tables.append(place / name)
            else:
                aside.add("ending", place / name)
    return Listing(root, tuple(sorted(images)), tuple(sorted(tables)), aside)


def list_images(folder: Path) -> list[Path]:
    """Lists every image file below ``folder``, hidden ones excepted, sorted; possibly none.

    Raises:
        InputError: ``folder`` or a folder below it may not be read.
    """
    return list(list_folder(folder).images)


def suffix_names() -> str:
    """The endings of image files, for a sentence."""
    return ", ".join(sorted(IMAGE_SUFFIXES))


def _refuse_unreadable(fault: OSError) -> None:
    raise InputError(f"{fault.filename} cannot be listed ({fault.strerror}): give this user permission to read it.")
