"""How many of the 256 grey levels a set of images uses."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

FEW = 24
"""Levels below which rounding to 8 bits is as coarse as the differences between parts."""
_LEAST_SHARE = 1e-4
_AT_ONCE = 2**22
"""Pixels of one histogram, whose counts are exact in float32 below 2**24."""


def levels_used(pixels: npt.NDArray[np.uint8]) -> int:
    """Counts the values, 1 to 256, that at least one in 10,000 pixels has; a few outliers count for nothing.

    Args:
        pixels: uint8 of any shape; 0 if it is empty.
    """
    counts, values = np.zeros(256), pixels.reshape(-1, 1)
    for start in range(0, len(values), _AT_ONCE):
        counts += cv2.calcHist([values[start : start + _AT_ONCE]], [0], None, [256], [0, 256]).ravel()
    return int(np.count_nonzero(counts > _LEAST_SHARE * pixels.size))


def few_levels(used: int) -> bool:
    """Whether images with so many levels are coarse; a single level is another fault, that of blank images."""
    return 1 < used < FEW
