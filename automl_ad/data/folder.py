"""Finds the good images in a folder."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence, Set
from pathlib import Path

from automl_ad.data.layouts import read_dataset
from automl_ad.errors import InputError, OptionError


def find_images(path: Path) -> list[Path]:
    """Lists the good images of a folder, in any of the layouts of `automl_ad.data.layouts`.

    Sub-folders are included, except symbolic links and names that begin with a dot. Of a labelled data set only the
    good images of its train part are read; where it has no parts, its good images.

    Returns:
        At least one path, sorted by name.

    Raises:
        InputError: The path is missing, a file, unreadable, without good images, or could mean several things.
    """
    return read_dataset(path).good()


def excluded_names(images: Path, given: Iterable[str | Path]) -> tuple[str, ...]:
    """Normalises the paths of excluded images to the form that a study stores.

    Args:
        images: The image folder of the search.
        given: Paths relative to it, or any other paths of files in it.

    Returns:
        Unique paths relative to ``images`` in POSIX form, sorted.

    Raises:
        OptionError: A path is not that of an image that the search would read.
    """
    given = list(given)
    known = {Path(os.path.abspath(path)) for path in find_images(images)} if given else set()
    return tuple(sorted({_name_within(images, Path(path), known) for path in given}))


def _name_within(images: Path, path: Path, known: Set[Path]) -> str:
    for place in (images / path, path):
        whole = Path(os.path.abspath(place))
        if whole in known:
            return whole.relative_to(os.path.abspath(images)).as_posix()
    raise OptionError(
        "exclude", f"{path} is not one of the images read from {images}; give a path as listed by `audit`."
    )


def without(paths: Sequence[Path], images: Path, exclude: Collection[str]) -> list[Path]:
    """The paths below ``images`` except those in ``exclude``, which are relative to it and in POSIX form.

    Raises:
        InputError: All are excluded.
    """
    left_out = {images / name for name in exclude}
    kept = [path for path in paths if path not in left_out]
    if not kept:
        raise InputError(f"All {len(paths)} images in {images} are excluded; leave some in the search.")
    return kept
