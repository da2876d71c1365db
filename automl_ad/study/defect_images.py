"""A few images of real defects, read as a study reads its images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from automl_ad.data.fingerprint import pixel_hash
from automl_ad.data.folder import list_images
from automl_ad.data.image_set import ImageSet
from automl_ad.data.study_images import StudyImages
from automl_ad.errors import InputError

MOST = 20
"""Defects from which on they deserve a labelled set of their own, with good images beside them."""
_LISTED = 5
"""Files named in one note."""


@dataclass(frozen=True)
class DefectImages:
    """The images that could be read, each once.

    Attributes:
        paths: Their files, sorted.
        images: At the largest working size of the study, in the same order.
        notes: Sentences on what was left out.
    """

    paths: Sequence[Path]
    images: ImageSet
    notes: Sequence[str]

    @classmethod
    def read(cls, folder: Path, normals: StudyImages) -> DefectImages:
        """Reads the images of a folder with the preprocessing of a study.

        Args:
            folder: Of 1 to `MOST` images; sub-folders count.
            normals: The good images of the study.

        Raises:
            InputError: No such folder, no image in it or none that can be read, too many of them, or one that is
                among the good images.
        """
        paths = find_defects(folder)
        pixels, faults = normals.reading.load_all(paths)
        if not len(pixels):
            raise InputError(f"None of the {len(paths)} pictures in {folder} (--defects) can be read: {faults[0][1]}")
        unread = {path for path, _ in faults}
        readable = [path for path in paths if path not in unread]
        first: dict[str, int] = {}
        for row, image in enumerate(pixels):
            first.setdefault(pixel_hash(image), row)
        _refuse_good_ones(first, readable, normals)
        rows = list(first.values())
        copies = [path for row, path in enumerate(readable) if row not in set(rows)]
        notes = [*_left_out("cannot be read", [reason for _, reason in faults]), *_left_out("are copies", copies)]
        return cls([readable[row] for row in rows], ImageSet.of(pixels[rows]), notes)


def find_defects(folder: Path) -> list[Path]:
    """Lists the images of a folder of real defects, sorted.

    Raises:
        InputError: No such folder, no image in it, or more than `MOST`.
    """
    if folder.is_file():
        raise InputError(f"{folder} (--defects) is a file: give the folder that holds the pictures of defects.")
    if not folder.is_dir():
        raise InputError(f"{folder} (--defects) does not exist: give a folder of 1 to {MOST} pictures of defects.")
    paths = list_images(folder)
    if not paths:
        raise InputError(f"{folder} (--defects) holds no images: put 1 to {MOST} pictures of defects there.")
    if len(paths) > MOST:
        raise InputError(
            f"{folder} (--defects) holds {len(paths)} pictures, and {MOST} are the most: lay so many out as a labelled "
            "set with good images beside them (test/good, test/<defect>) and run `automl-ad assess NAME DATASET`."
        )
    return paths


def _refuse_good_ones(first: dict[str, int], paths: Sequence[Path], normals: StudyImages) -> None:
    """One image cannot be good and defective; detectors learned from it, too."""
    for image in normals.images.pixels:
        row = first.get(pixel_hash(image))
        if row is not None:
            raise InputError(
                f"{paths[row]} (--defects) is one of the study's good images: remove it from there, or search again "
                "without it (--exclude)."
            )


def _left_out(why: str, items: Sequence[str | Path]) -> list[str]:
    if not items:
        return []
    more = f" and {len(items) - _LISTED} more" if len(items) > _LISTED else ""
    return [f"Left out, since they {why}: {'; '.join(str(item).rstrip('.') for item in items[:_LISTED])}{more}."]
