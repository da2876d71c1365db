"""An immutable stack of images of one size, identified by a content key."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from automl_ad.data.fingerprint import pixel_hash


@dataclass(frozen=True)
class ImageSet:
    """Images at the working size of a study.

    Attributes:
        pixels: uint8 [N, 3, H, W], RGB, 0 to 255.
        key: Hex digest of the content, or of the base's key and the rows for a subset: equal keys mean equal images,
            so it can identify cached results.
        base: The set of which this is a subset; None if it is not one. Subsets use the features cached for the base.
        rows: int64 [N], index of each image in the base; None if it is not a subset.
        shares_features: Whether its subsets use the features cached for it, for which those of all its images are
            computed; otherwise each subset is a set of its own.
    """

    pixels: npt.NDArray[np.uint8]
    key: str
    base: ImageSet | None = None
    rows: npt.NDArray[np.int64] | None = None
    shares_features: bool = True

    @classmethod
    def of(cls, pixels: npt.NDArray[np.uint8]) -> ImageSet:
        """A set from a uint8 [N, 3, H, W] array."""
        if pixels.ndim != 4 or pixels.shape[1] != 3 or pixels.dtype != np.uint8:
            raise ValueError(f"pixels must be uint8 [N, 3, H, W] but got {pixels.dtype} {pixels.shape}")
        pixels = np.ascontiguousarray(pixels)
        return cls(pixels, pixel_hash(pixels))

    @classmethod
    def from_hwc(cls, images: Sequence[npt.NDArray[np.uint8]]) -> ImageSet:
        """A set from uint8 [H, W, 3] images of one size."""
        return cls.of(np.stack(images).transpose(0, 3, 1, 2))

    @property
    def hwc(self) -> npt.NDArray[np.uint8]:
        """The images as uint8 [N, H, W, 3], each contiguous."""
        return np.ascontiguousarray(self.pixels.transpose(0, 2, 3, 1))

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return int(self.pixels.shape[2]), int(self.pixels.shape[3])

    def take(self, indices: Sequence[int] | npt.NDArray[np.int64]) -> ImageSet:
        """The subset at ``indices``, in that order.

        >>> images = ImageSet.of(np.zeros((4, 3, 32, 32), np.uint8))
        >>> len(images.take([3, 1]))
        2
        """
        chosen = np.asarray(indices, dtype=np.int64)
        if not self.shares_features:
            return ImageSet.of(self.pixels[chosen])
        rows = chosen if self.rows is None else self.rows[chosen]
        digest = hashlib.sha256(f"{(self.base or self).key}{rows.tolist()}".encode()).hexdigest()
        return ImageSet(self.pixels[chosen], digest, self.base or self, rows)

    def without_shared_features(self) -> ImageSet:
        """The same images, for when few of them are used: features of the others are then never computed."""
        return replace(self, shares_features=False)

    def batches(self, size: int) -> Iterator[npt.NDArray[np.float32]]:
        """Yields float32 [<=size, 3, H, W] arrays in 0 to 1, in order."""
        for start in range(0, len(self), size):
            yield self.pixels[start : start + size].astype(np.float32) / np.float32(255)
