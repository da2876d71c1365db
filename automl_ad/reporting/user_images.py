"""Images that a user wants to try, found by label and read once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import numpy as np
import numpy.typing as npt

from automl_ad.data.image_set import ImageSet
from automl_ad.data.listing import list_images
from automl_ad.data.preprocessing import Preprocessing
from automl_ad.errors import InputError, StoreError
from automl_ad.evaluation.suite import resize_images

Picture = npt.NDArray[np.uint8]
Label = Literal["good", "defect", "unlabelled"]
LABELS: tuple[Label, ...] = ("good", "defect", "unlabelled")
"""What is known of an image, and the names of the folders that say so."""
BLOCK = 8
"""Images held in memory at once."""


@dataclass(frozen=True)
class UserImage:
    """One file to try.

    Attributes:
        path: The file.
        name: Its path below the folder that was given, in POSIX form.
        label: What is known of it.
        defect: The type of its defect, if it was sorted into one.
    """

    path: Path
    name: str
    label: Label
    defect: str | None


def find_user_images(folder: Path) -> list[UserImage]:
    """Lists the images in ``good``, ``defect`` (sub-folders name the types) and ``unlabelled`` below a folder.

    Raises:
        InputError: There are none.
    """
    sorted_in = [label for label in LABELS if (folder / label).is_dir()]
    found = [_described(path, folder, label) for label in sorted_in for path in list_images(folder / label)]
    if not found:
        raise InputError(f"{folder} holds no pictures to try: put some into {', '.join(LABELS[:-1])} or {LABELS[-1]}.")
    return found


def _described(path: Path, folder: Path, label: Label) -> UserImage:
    below = path.relative_to(folder)
    sorted_in = label == "defect" and len(below.parts) > 2
    return UserImage(path, below.as_posix(), label, below.parts[1] if sorted_in else None)


@dataclass(frozen=True)
class UserImages:
    """Images as detectors see them, kept in a file so that any number fits.

    Attributes:
        pictures: All that were to be read.
        faults: By place, why a file cannot be read.
        size: (height, width) in pixels: the study's largest working size.
    """

    pictures: Sequence[UserImage]
    faults: dict[int, str]
    size: tuple[int, int]
    _file: IO[bytes]

    @classmethod
    def read(
        cls, pictures: Sequence[UserImage], how: Preprocessing, file: IO[bytes], tell: Callable[[int], None]
    ) -> UserImages:
        """Reads all files.

        Args:
            pictures: At least one.
            how: Preprocessing of the study's largest working size.
            file: Empty, open for writing and reading, for as long as the user_images is used.
            tell: Called with how many are done, before each block.

        Raises:
            StoreError: There is no room on the disk.
        """
        user_images = cls(pictures, {}, (how.height, how.width), file)
        for rows in _blocks(range(len(pictures))):
            tell(rows[0])
            user_images._read_block(rows, how)
        return user_images

    @property
    def readable(self) -> list[int]:
        """Places of the files that could be read."""
        return [row for row in range(len(self.pictures)) if row not in self.faults]

    def blocks(self, size: tuple[int, int]) -> Iterator[tuple[list[int], ImageSet]]:
        """The readable images, a few at a time: their places, and the images at a working size."""
        for rows in _blocks(self.readable):
            yield rows, resize_images(ImageSet.from_hwc([self.picture(row) for row in rows]), size)

    def picture(self, row: int) -> Picture:
        """One image, uint8 [H, W, 3]; black where the file could not be read."""
        shape = (*self.size, 3)
        self._file.seek(row * math.prod(shape))
        return np.frombuffer(self._file.read(math.prod(shape)), np.uint8).reshape(shape)

    def _read_block(self, rows: list[int], how: Preprocessing) -> None:
        paths = {self.pictures[row].path: row for row in rows}
        pixels, faults = how.load_all(list(paths))
        self.faults.update({paths[path]: fault for path, fault in faults})
        pictures = np.zeros((len(rows), *self.size, 3), np.uint8)
        pictures[[row not in self.faults for row in rows]] = pixels.transpose(0, 2, 3, 1)
        try:
            self._file.write(pictures.tobytes())
        except OSError as error:
            raise StoreError(f"The pictures cannot be kept ({error.strerror}); free the disk and try again") from error


def _blocks(rows: Sequence[int]) -> Iterator[list[int]]:
    for start in range(0, len(rows), BLOCK):
        yield list(rows[start : start + BLOCK])
