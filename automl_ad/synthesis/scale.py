"""Scaling of pixel sizes, which are given for images of 256 pixels."""

from __future__ import annotations

from collections.abc import Sequence

REFERENCE_SIDE = 256


def pixel_scale(shape: Sequence[int]) -> float:
    """Ratio of the shorter side of an image (H, W, ...) to 256 pixels.

    >>> pixel_scale((512, 1024, 3))
    2.0
    """
    return min(shape[:2]) / REFERENCE_SIDE
