"""Training anomalies from the pool of SDAS images, newly blended at every draw."""

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
    """``count`` evenly spaced strengths from ``low`` to ``high``, both included."""
    return [float(value) for value in np.linspace(low, high, count)]


@dataclass(frozen=True)
class SeededPool:
    """The images of one seed in a pool, for training.

    Attributes:
        pool: The pool, which may also contain other images.
        seed: Seed of the training images.
    """

    pool: ImagePool
    seed: int


class PoolSource:
    """Draws local anomalies from the images of a pool, without generating any.

    Trials with different ranges of strengths use different slices of the same pool. A synthetic image of the same base
    is preferred, so that light and layout match; otherwise, as published, one of any other base is used. Synthetic
    images are resized to the image.

    Args:
        pool: A filled pool.
        strengths: Lowest and highest strength.
        foreground: Where the product is.
        opacities: Lowest and highest opacity.
        seed: Seed of the images to use; None for all.

    Raises:
        InputError: The pool has no image in the range.
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
            StoreError: An image of the pool is missing or was altered.
        """
        keys: Sequence[ImageKey] = self._by_base.get(pixel_hash(image), self._keys)
        synthetic = _sized(self._read(keys[int(rng.integers(len(keys)))]), image)
        inside = self._foreground.mask_of(image)
        mask = perlin_mask((image.shape[0], image.shape[1]), rng, foreground=inside)
        return local_anomaly(image, synthetic, mask, float(rng.uniform(*self._opacities))), mask


def _sized(synthetic: Image, image: Image) -> Image:
    """The synthetic image, resized to the image."""
    if synthetic.shape == image.shape:
        return synthetic
    return np.asarray(cv2.resize(synthetic, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_AREA), np.uint8)
