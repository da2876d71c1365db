"""Antialiased lines and dots with sub-pixel precision."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Weight = npt.NDArray[np.float32]

_SHIFT = 4
"""Bits of sub-pixel precision in OpenCV's drawing."""


def walk(start: npt.ArrayLike, directions: Floats, length: float) -> Floats:
    """A path of equal steps, [K + 1, 2] as (x, y) in pixels.

    Args:
        start: (x, y) of the first point.
        directions: Direction of each of the K steps, in radians from the x axis towards the y axis.
        length: Total length of all steps, in pixels.
    """
    moves = np.stack([np.cos(directions), np.sin(directions)], axis=1) * (length / len(directions))
    path: Floats = np.concatenate([np.zeros((1, 2)), np.cumsum(moves, axis=0)]) + np.asarray(start)
    return path


def lines(paths: Iterable[Floats], shape: tuple[int, ...], width: int) -> Weight:
    """Lines of one width in pixels through the points of each path, float32 [H, W] in 0 to 1."""
    canvas = np.zeros(shape, np.uint8)
    points = [np.rint(path * 2**_SHIFT).astype(np.int32) for path in paths]
    cv2.polylines(canvas, points, False, 255, width, cv2.LINE_AA, _SHIFT)
    return _as_weight(canvas)


def dots(centres: Floats, radii: Floats, shape: tuple[int, ...]) -> Weight:
    """Filled circles, float32 [H, W] in 0 to 1.

    Args:
        centres: [N, 2] as (x, y) in pixels.
        radii: [N] in pixels; none is drawn smaller than half a pixel.
        shape: (H, W).
    """
    canvas = np.zeros(shape, np.uint8)
    for (x, y), radius in zip(np.rint(centres * 2**_SHIFT), np.rint(radii * 2**_SHIFT), strict=True):
        cv2.circle(canvas, (int(x), int(y)), max(2**_SHIFT // 2, int(radius)), 255, -1, cv2.LINE_AA, _SHIFT)
    return _as_weight(canvas)


def _as_weight(canvas: npt.NDArray[np.uint8]) -> Weight:
    return np.asarray(canvas / np.float32(255), np.float32)


def grain_angle(image: npt.NDArray[np.uint8], inside: npt.NDArray[np.bool_]) -> float:
    """The angle along which the grey level changes least, from the structure tensor over the product.

    Args:
        image: uint8 [H, W, 3].
        inside: bool [H, W] with at least one True.

    Returns:
        Radians in (-pi/2, pi/2], from the x axis towards the y axis; arbitrary if there is no dominant direction.
    """
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 1.0)
    across, down = cv2.Scharr(grey, cv2.CV_32F, 1, 0)[inside], cv2.Scharr(grey, cv2.CV_32F, 0, 1)[inside]
    steepest = 0.5 * np.arctan2(2 * float(across @ down), float(across @ across - down @ down))
    along = steepest + np.pi / 2
    return float(along - np.pi if along > np.pi / 2 else along)
