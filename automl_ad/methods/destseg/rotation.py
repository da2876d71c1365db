"""Good images turned before anomalies are drawn on them, for products that lie in any direction."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from automl_ad.methods.pairs import Vary

Rotation = Literal["none", "slight", "full"]

SLIGHT = 5.0
"""Degrees either way."""


def turning(rotation: Rotation) -> Vary | None:
    """How good images are turned.

    Args:
        rotation: ``slight``, by up to 5 degrees; ``full``, by a multiple of 90 (of 180 where an image is not square, so
            that it stays whole) plus that; ``none``, not at all.

    Returns:
        A function that turns a picture, or None for ``none``: features of the good images may then be known already.
    """
    if rotation == "none":
        return None
    return lambda picture, rng: turn(picture, _angle(picture.shape, rotation, rng))


def turn(picture: npt.NDArray[np.uint8], degrees: float) -> npt.NDArray[np.uint8]:
    """Turns a uint8 [H, W, 3] picture about its centre, counter-clockwise.

    Corners that come into view mirror the picture. The grey that the authors fill them with occurs on no real image:
    the student would spend itself on its edges, and what looks for the product would take it for a part.
    """
    height, width = picture.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    return np.asarray(cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101), np.uint8)


def _angle(shape: tuple[int, ...], rotation: Rotation, rng: np.random.Generator) -> float:
    step = 90 if shape[0] == shape[1] else 180
    upright = step * int(rng.integers(360 // step)) if rotation == "full" else 0
    return upright + float(rng.uniform(-SLIGHT, SLIGHT))
