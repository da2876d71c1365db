"""Finds the good images in a folder."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence, Set
from pathlib import Path

from automl_ad.data.reading import IMAGE_SUFFIXES
from automl_ad.errors import InputError, OptionError


def find_images(path: Path) -> list[Path]:
    """Lists the good images of a folder.

    Sub-folders are included, except symbolic links and names that begin with a dot. Of a data set in MVTec layout only
    ``train/good`` is read, as the rest contains defects.

    Returns:
        At least one path, sorted by name.

    Raises:
        InputError: The path is missing, a file, unreadable, without images, or the test part of a data set.
    """
    _check_folder(path)
    good = path / "train" / "good"
    if not good.is_dir():
        _refuse_test_part(path)
    folder = good if good.is_dir() else path
    found = list_images(folder)
    if not found:
        raise InputError(f"{folder} holds no images: put files ending in {_suffix_names()} there.")
    return found


def list_images(folder: Path) -> list[Path]:
    """Lists every image file below ``folder``, hidden ones excepted, sorted; possibly none.

    Raises:
        InputError: ``folder`` or a folder below it may not be read.
    """
    found: list[Path] = []
    for here, folders, files in os.walk(folder, onerror=_refuse_unreadable):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(here, name) for name in files if _is_image_name(name)]
    return sorted(found)


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


def _is_image_name(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES


def _check_folder(path: Path) -> None:
    if path.is_file():
        raise InputError(f"{path} is a file: give the folder that holds the good images.")
    if not path.is_dir():
        raise InputError(f"{path} does not exist: give the folder that holds the good images.")


def _refuse_test_part(path: Path) -> None:
    """Refuses a test part, as it mixes good and defective images."""
    inside = path.name == "test" and (path / "good").is_dir()
    if inside or (path / "test" / "good").is_dir():
        raise InputError(
            f"{path} looks like the test part of a data set in MVTec layout, without train/good: "
            "give a folder of good images only."
        )


def _refuse_unreadable(fault: OSError) -> None:
    raise InputError(f"{fault.filename} cannot be listed ({fault.strerror}): give this user permission to read it.")


def _suffix_names() -> str:
    return ", ".join(sorted(IMAGE_SUFFIXES))
