"""Inpaints image regions smoothly from their surroundings."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from automl_ad.synthesis.regions import region_of

Floats = npt.NDArray[np.float32]

_GRAIN = 1 / 32
"""Averaging window as a share of the shorter side, large enough to average out surface texture."""

_LEAST = np.float32(1e-9)
"""Avoids division by zero where nothing is known."""


def inpainted(image: npt.NDArray[np.uint8], known: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """The image with unknown pixels replaced by smooth averages of the known surroundings, without detail.

    Args:
        image: uint8 [H, W, 3].
        known: bool [H, W] with at least one True.

    Returns:
        uint8 [H, W, 3]; equal to the image where it is known.
    """
    painted: npt.NDArray[np.uint8] = image.copy()
    region = region_of(~known)
    if region is None:
        return painted
    height, width = known.shape
    cell = max(1.0, _GRAIN * min(height, width))
    size = (max(1, round(width / cell)), max(1, round(height / cell)))
    filled = _filled(*_reduced(image.astype(np.float32), known.astype(np.float32), size))
    tones = cv2.resize(filled, (width, height), interpolation=cv2.INTER_LINEAR)
    painted[region] = np.where(known[region][..., None], image[region], np.rint(tones[region]))
    return painted


def _reduced(colours: Floats, share: Floats, size: tuple[int, int]) -> tuple[Floats, Floats]:
    """Averages of the known pixels, and their share in each cell, at a smaller size (width, height)."""
    known = np.asarray(cv2.resize(share, size, interpolation=cv2.INTER_AREA), np.float32)
    sums = np.asarray(cv2.resize(colours * share[..., None], size, interpolation=cv2.INTER_AREA), np.float32)
    averages: Floats = sums / np.maximum(known, _LEAST)[..., None]
    return averages, known


def _filled(colours: Floats, share: Floats) -> Floats:
    """Fills cells without known pixels from the image at half the size, recursively."""
    if share.all():
        return colours
    height, width = share.shape
    coarse = _filled(*_reduced(colours, share, ((width + 1) // 2, (height + 1) // 2)))
    finer = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.where(share[..., None] > 0, colours, finer)
