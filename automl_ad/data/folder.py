"""Which files of a folder are the good images."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence, Set
from pathlib import Path

from automl_ad.data.reading import IMAGE_SUFFIXES
from automl_ad.errors import InputError, OptionError


def find_images(path: Path) -> list[Path]:
    """Lists the good images that a user points at.

    A folder is searched with its sub-folders, links to folders left aside, as is anything whose name begins with a
    dot. Of a data set in MVTec layout only ``train/good`` is read, for the rest of it holds defects.

    Returns:
        At least one path, sorted by name.

    Raises:
        InputError: No such folder, a file, no permission, no image in it, or the test part of a data set.
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
    """Lists every image file below ``folder``, hidden ones left aside, sorted; possibly none.

    Raises:
        InputError: ``folder`` or a folder below it may not be read.
    """
    found: list[Path] = []
    for here, folders, files in os.walk(folder, onerror=_refuse_unreadable):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(here, name) for name in files if _is_image_name(name)]
    return sorted(found)


def excluded_names(images: Path, given: Iterable[str | Path]) -> tuple[str, ...]:
    """Names the images to leave out as a study keeps them.

    Args:
        images: The folder that a search is given.
        given: Paths relative to it, or any other paths of files in it.

    Returns:
        Paths relative to ``images`` in POSIX form, sorted, each once.

    Raises:
        OptionError: A path is none of an image that the search would read.
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
        "exclude", f"{path} is none of the images that are read in {images}; give one as `audit` lists it."
    )


def without(paths: Sequence[Path], images: Path, exclude: Collection[str]) -> list[Path]:
    """The paths below ``images`` except those that are named, relative to it and in POSIX form.

    Raises:
        InputError: None is left.
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
    """A test part mixes good and defective images, so nothing may be learned from it."""
    inside = path.name == "test" and (path / "good").is_dir()
    if inside or (path / "test" / "good").is_dir():
        raise InputError(
            f"{path} looks like the test part of a data set in MVTec layout, without train/good: "
            "give a folder that holds good images only."
        )


def _refuse_unreadable(fault: OSError) -> None:
    raise InputError(f"{fault.filename} cannot be listed ({fault.strerror}): give this user permission to read it.")


def _suffix_names() -> str:
    return ", ".join(sorted(IMAGE_SUFFIXES))
