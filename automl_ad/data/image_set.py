"""A fixed stack of images of one size, with a key that names its content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from automl_ad.data.fingerprint import pixel_hash


@dataclass(frozen=True)
class ImageSet:
    """Images at the working size of a study.

    Attributes:
        pixels: uint8 [N, 3, H, W], RGB, 0 to 255.
        key: Hex digest that names the content, of a set of its own or as rows of its base: equal keys mean equal
            images, so it can name cached results.
        base: The set that this one was taken from; None for a set of its own. What is cached for the base serves all
            sets taken from it.
        rows: int64 [N], where in the base each image lies; None for a set of its own.
    """

    pixels: npt.NDArray[np.uint8]
    key: str
    base: ImageSet | None = None
    rows: npt.NDArray[np.int64] | None = None

    @classmethod
    def of(cls, pixels: npt.NDArray[np.uint8]) -> ImageSet:
        """Wraps a uint8 [N, 3, H, W] array and computes its key."""
        if pixels.ndim != 4 or pixels.shape[1] != 3 or pixels.dtype != np.uint8:
            raise ValueError(f"pixels must be uint8 [N, 3, H, W] but got {pixels.dtype} {pixels.shape}")
        pixels = np.ascontiguousarray(pixels)
        return cls(pixels, pixel_hash(pixels))

    @classmethod
    def of_pictures(cls, pictures: Sequence[npt.NDArray[np.uint8]]) -> ImageSet:
        """Stacks uint8 [H, W, 3] pictures of one size."""
        return cls.of(np.stack(pictures).transpose(0, 3, 1, 2))

    @property
    def pictures(self) -> npt.NDArray[np.uint8]:
        """The images as uint8 [N, H, W, 3], each contiguous."""
        return np.ascontiguousarray(self.pixels.transpose(0, 2, 3, 1))

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return int(self.pixels.shape[2]), int(self.pixels.shape[3])

    def take(self, indices: Sequence[int] | npt.NDArray[np.int64]) -> ImageSet:
        """The images at ``indices``, in that order."""
        chosen = np.asarray(indices, dtype=np.int64)
        rows = chosen if self.rows is None else self.rows[chosen]
        digest = hashlib.sha256(f"{(self.base or self).key}{rows.tolist()}".encode()).hexdigest()
        return ImageSet(self.pixels[chosen], digest, self.base or self, rows)

    def batches(self, size: int) -> Iterator[npt.NDArray[np.float32]]:
        """Yields float32 [<=size, 3, H, W] arrays in 0 to 1, in order."""
        for start in range(0, len(self), size):
            yield self.pixels[start : start + size].astype(np.float32) / np.float32(255)
