"""Fills a gap in an image with the tone of what surrounds it."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

_GRAIN = 1 / 32
"""Of the shorter side: the texture of a surface averages out over so many pixels."""

_LEAST = np.float32(1e-9)
"""Keeps what is not known at all from being divided by 0."""


def inpainted(image: npt.NDArray[np.uint8], known: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """The image with everything unknown replaced by the average of the known surroundings: smooth, without detail.

    Args:
        image: uint8 [H, W, 3].
        known: bool [H, W] with at least one True.

    Returns:
        uint8 [H, W, 3]; equal to the image where it is known.
    """
    height, width = known.shape
    cell = max(1.0, _GRAIN * min(height, width))
    size = (max(1, round(width / cell)), max(1, round(height / cell)))
    filled = _filled(*_reduced(image.astype(np.float32), known.astype(np.float32), size))
    tones = cv2.resize(filled, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.where(known[..., None], image, np.rint(tones)).astype(np.uint8)


def _reduced(colours: Floats, share: Floats, size: tuple[int, int]) -> tuple[Floats, Floats]:
    """Averages over what is known, and the known share of each cell, at a smaller size of (width, height)."""
    known = np.asarray(cv2.resize(share, size, interpolation=cv2.INTER_AREA), np.float32)
    sums = np.asarray(cv2.resize(colours * share[..., None], size, interpolation=cv2.INTER_AREA), np.float32)
    averages: Floats = sums / np.maximum(known, _LEAST)[..., None]
    return averages, known


def _filled(colours: Floats, share: Floats) -> Floats:
    """The colours where something is known; elsewhere those of half the size, filled in turn."""
    if share.all():
        return colours
    height, width = share.shape
    coarse = _filled(*_reduced(colours, share, ((width + 1) // 2, (height + 1) // 2)))
    finer = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.where(share[..., None] > 0, colours, finer)
