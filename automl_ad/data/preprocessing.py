"""Preprocessing of image files to arrays of one working size, identical in search and bundle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import Field, field_validator

from automl_ad.data.pixel_budget import in_threads
from automl_ad.data.reading import decoded
from automl_ad.data.rendering import Rendering
from automl_ad.errors import InputError

STRIDE = 32
"""Sides are multiples of it, so that every level of a backbone has a whole number of cells."""


def working_size(sizes: Sequence[tuple[int, int]], side: int = 256) -> tuple[int, int]:
    """Chooses the working size of a study.

    Among the rectangles with sides that are multiples of 32, the one with the smallest sum of squared errors in
    log aspect (relative to the median image) and in log area (relative to ``side`` x ``side``).

    >>> working_size([(400, 800)], side=256)
    (192, 352)


    Args:
        sizes: (height, width) of each image, at least one.
        side: Side in pixels of the square whose area the rectangle should have, at least 32.

    Returns:
        (height, width), each at least 32.

    Raises:
        InputError: ``side`` is below 32.
    """
    if side < STRIDE:
        raise InputError(f"--image-size {side} is too small: give at least {STRIDE}.")
    aspect = float(np.median([np.log(width / height) for height, width in sizes]))
    steps = np.log(STRIDE * np.arange(1, 4 * side // STRIDE + 1))
    height, width = steps[:, None], steps[None, :]
    error = (width - height - aspect) ** 2 + (width + height - 2 * np.log(side)) ** 2
    row, column = np.unravel_index(int(error.argmin()), error.shape)
    return STRIDE * (int(row) + 1), STRIDE * (int(column) + 1)


def reduce(image: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Downsamples an image by area averaging. Uses Pillow, the only image library in a bundle's runtime.

    Args:
        image: uint8 [H, W, 3].
        size: (height, width) of the result.

    Returns:
        uint8 [height, width, 3].
    """
    return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BOX))


class Preprocessing(Rendering):
    """Converts image files to detector inputs; stored with every bundle, and its `Rendering` with every study.

    Attributes:
        height: Rows of the working size.
        width: Columns of the working size.
        via: (height, width) of a larger intermediate size. A study with several working sizes reads its files at the
            largest and downsamples from there; a bundle does the same, so that its inputs are identical.
    """

    height: int = Field(ge=STRIDE)
    width: int = Field(ge=STRIDE)
    via: tuple[int, int] | None = None

    @field_validator("via")
    @classmethod
    def _not_tiny(cls, via: tuple[int, int] | None) -> tuple[int, int] | None:
        if via is not None and min(via) < STRIDE:
            raise ValueError(f"each side must be at least {STRIDE}")
        return via

    def apply(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Resizes uint8 [H, W, 3] to uint8 [3, height, width].

        With an antialiased bilinear filter; with ``via``, to that size first and then by area averaging.
        """
        return self._resized(Image.fromarray(image))

    def load(self, path: Path) -> npt.NDArray[np.uint8]:
        """Reads and resizes a file to uint8 [3, height, width].

        Raises:
            InputError: The file cannot be read as an image.
        """
        with decoded(path, self, self._first_size) as image:
            return self._resized(image)

    def load_all(
        self,
        paths: Sequence[Path],
        threads: int | None = None,
        tell: Callable[[int, int], None] | None = None,
    ) -> tuple[npt.NDArray[np.uint8], list[tuple[Path, str]]]:
        """Reads many files in threads, within the pixel budget of the process, leaving out those that cannot be read.

        Args:
            paths: The files.
            threads: How many; one per usable core when None.
            tell: Called with how many files are read, and how many there are, after each.

        Returns:
            uint8 [N, 3, height, width] of the readable files in the order given, and (path, reason) of the others.
        """
        loaded = in_threads(self._try_load, paths, threads, tell)
        pixels = [item for item in loaded if not isinstance(item, str)]
        faults = [(path, item) for path, item in zip(paths, loaded, strict=True) if isinstance(item, str)]
        empty = np.empty((0, 3, self.height, self.width), np.uint8)
        return np.stack(pixels) if pixels else empty, faults

    def _try_load(self, path: Path) -> npt.NDArray[np.uint8] | str:
        try:
            return self.load(path)
        except InputError as fault:
            return str(fault)

    @property
    def _first_size(self) -> tuple[int, int]:
        return self.via or (self.height, self.width)

    def _resized(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        """Resizes an image, ``L`` or ``RGB``, to uint8 [3, height, width].

        Grey is resized as one channel: the same values for a quarter of the memory.
        """
        height, width = self._first_size
        resized = image.resize((width, height), Image.Resampling.BILINEAR)
        pixels = np.asarray(resized if resized.mode == "RGB" else resized.convert("RGB"))
        if self.via:
            pixels = reduce(pixels, (self.height, self.width))
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))
