"""Training anomalies for methods that learn from SDAS: slices of the pool, blended in anew at every draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from automl_ad.data.fingerprint import pixel_hash
from automl_ad.errors import InputError
from automl_ad.synthesis.foreground import Foreground
from automl_ad.synthesis.perlin import perlin_mask
from automl_ad.synthesis.sdas.local import OPACITIES, local_anomaly
from automl_ad.synthesis.sdas.pool import ImageKey, ImagePool

Image = npt.NDArray[np.uint8]

_KEPT = 128
"""Images held in memory by one source."""


def spread_strengths(low: float, high: float, count: int) -> list[float]:
    """So many strengths, evenly spread over a range with both ends: what a pool is stocked with."""
    return [float(value) for value in np.linspace(low, high, count)]


@dataclass(frozen=True)
class SeededPool:
    """Images that may be learned from.

    Attributes:
        pool: Where they are, beside others.
        seed: Which of its images they are.
    """

    pool: ImagePool
    seed: int


class PoolSource:
    """Draws local anomalies from the images that a pool holds, and never makes one.

    A trial that tries another range of strengths takes another slice of the same pool. An image gets a synthetic made of
    itself where the slice has one, so that light and layout agree; else, as published, that of any other image.
    Images of another size than the image are brought to its size.

    Args:
        pool: Stocked with images.
        strengths: Lowest and highest strength.
        foreground: Where the product is.
        opacities: Lowest and highest opacity.
        seed: Of the images wanted; None for those of every seed.

    Raises:
        InputError: The pool has no synthetic in the range.
    """

    def __init__(
        self,
        pool: ImagePool,
        strengths: tuple[float, float],
        foreground: Foreground,
        opacities: tuple[float, float] = OPACITIES,
        seed: int | None = None,
    ) -> None:
        keys = [key for key in pool.slice(*strengths) if seed is None or key.seed == seed]
        if not keys:
            low, high = strengths
            raise InputError(f"The pool {pool.folder} has no image of strength {low:g} to {high:g}: widen the range.")
        self._foreground = foreground
        self._opacities = opacities
        self._keys = keys
        self._by_base: dict[str, list[ImageKey]] = {}
        for key in keys:
            self._by_base.setdefault(key.base, []).append(key)
        self._read = lru_cache(_KEPT)(pool.read)

    def draw(self, image: Image, rng: np.random.Generator) -> tuple[Image, npt.NDArray[np.bool_]]:
        """Makes an anomalous copy of a uint8 [H, W, 3] image and its bool [H, W] mask.

        Raises:
            StoreError: A synthetic of the pool was lost or altered meanwhile.
        """
        keys: Sequence[ImageKey] = self._by_base.get(pixel_hash(image), self._keys)
        synthetic = _sized(self._read(keys[int(rng.integers(len(keys)))]), image)
        inside = self._foreground.mask_of(image)
        mask = perlin_mask((image.shape[0], image.shape[1]), rng, foreground=inside)
        return local_anomaly(image, synthetic, mask, float(rng.uniform(*self._opacities))), mask


def _sized(synthetic: Image, image: Image) -> Image:
    """The synthetic at the size of the image."""
    if synthetic.shape == image.shape:
        return synthetic
    return np.asarray(cv2.resize(synthetic, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_AREA), np.uint8)
