"""The part of an image that a defect touches: most work of a drawing is needed only there."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Region = tuple[slice, slice]
"""Rows and columns of a rectangle inside an image."""


def region_of(weight: npt.NDArray[Any], margin: int = 0) -> Region | None:
    """The smallest rectangle around all pixels above 0, grown by a margin within the image.

    Args:
        weight: bool, uint8 or float32 [H, W], C-contiguous.
        margin: Pixels added on each side.

    Returns:
        The rectangle; None if no pixel is above 0.
    """
    above = weight if weight.dtype == np.bool_ else weight > 0
    left, top, width, height = cv2.boundingRect(above.view(np.uint8))
    if not width:
        return None
    return grown((slice(top, top + height), slice(left, left + width)), margin, weight.shape)


def grown(region: Region, margin: int, shape: tuple[int, ...]) -> Region:
    """A rectangle with a margin on each side, within an image of the shape (H, W, ...)."""
    rows, columns = region
    return (
        slice(max(0, rows.start - margin), min(shape[0], rows.stop + margin)),
        slice(max(0, columns.start - margin), min(shape[1], columns.stop + margin)),
    )


def around(centre: tuple[int, int], reach: float, shape: tuple[int, ...]) -> Region:
    """The pixels within ``reach`` rows and columns of a (row, column) inside an image of the shape (H, W, ...)."""
    point = (slice(centre[0], centre[0] + 1), slice(centre[1], centre[1] + 1))
    return grown(point, int(np.ceil(reach)), shape)


def channel_range(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Highest less lowest of the three channels of every pixel, uint8 [H, W]."""
    return highest_channel(image) - np.minimum(np.minimum(image[..., 0], image[..., 1]), image[..., 2])


def highest_channel(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Highest of the three channels of every pixel, uint8 [H, W]; numpy's own maximum over a short axis is slow."""
    return np.maximum(np.maximum(image[..., 0], image[..., 1]), image[..., 2])
