"""Rotation of normal images before anomalies are drawn, for products of arbitrary orientation."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from automl_ad.methods.pairs import Augment

Rotation = Literal["none", "slight", "full"]

SLIGHT = 5.0
"""Degrees either way."""


def rotation_augment(rotation: Rotation) -> Augment | None:
    """The augmentation for a rotation setting.

    Args:
        rotation: ``slight``, by up to 5 degrees; ``full``, by a multiple of 90 (of 180 where an image is not square, so
            that it stays whole) plus that; ``none``, not at all.

    Returns:
        A function that rotates an image, or None for ``none``: features of the original images may be cached already.
    """
    if rotation == "none":
        return None
    return lambda image, rng: rotate(image, _angle(image.shape, rotation, rng))


def rotate(image: npt.NDArray[np.uint8], degrees: float) -> npt.NDArray[np.uint8]:
    """Rotates a uint8 [H, W, 3] image about its centre, counter-clockwise.

    Corners are filled by reflection. The authors fill them with grey, which occurs on no real image: the student would
    spend capacity on its edges, and the foreground segmentation would take it for a part.
    """
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    return np.asarray(cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101), np.uint8)


def _angle(shape: tuple[int, ...], rotation: Rotation, rng: np.random.Generator) -> float:
    step = 90 if shape[0] == shape[1] else 180
    upright = step * int(rng.integers(360 // step)) if rotation == "full" else 0
    return upright + float(rng.uniform(-SLIGHT, SLIGHT))
