"""Blends defects into images with a visibility determined by the severity."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from automl_ad.synthesis.regions import highest_channel, region_of

FAINTEST_CONTRAST = 3.0
CONTRAST_RANGE = 51.0
VARIATION_GAIN = 4.5
TYPICAL_AREA = 0.01
EDGE_WEIGHT = 0.1
_WINDOW = 5
"""Side in pixels of the square over which a change is averaged."""


def blend(
    image: npt.NDArray[np.uint8],
    source: npt.NDArray[np.uint8],
    weight: npt.NDArray[np.float32] | npt.NDArray[np.bool_],
    opacity: float = 1.0,
) -> npt.NDArray[np.uint8]:
    """Linear alpha blend, image + weight * opacity * (source - image), rounded to the nearest level.

    Args:
        image: uint8 [H, W, 3].
        source: uint8 [H, W, 3].
        weight: bool or float32 [H, W] in 0 to 1.
        opacity: In 0 to 1.

    Returns:
        uint8 [H, W, 3]; equal to the image wherever the weight is 0.
    """
    mixed: npt.NDArray[np.uint8] = image.copy()
    region = region_of(weight)
    if region is not None:
        alpha = weight[region].astype(np.float32)[..., None] * np.float32(opacity)
        base = image[region].astype(np.float32)
        mixed[region] = np.rint(base + alpha * (source[region].astype(np.float32) - base)).astype(np.uint8)
    return mixed


def local_variation(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Standard deviation of the grey level in a window of a sixteenth of the shorter side around every pixel.

    Args:
        image: uint8 [H, W, 3].

    Returns:
        float32 [H, W] in grey levels, 0 to about 128.
    """
    side = max(3, min(image.shape[:2]) // 16)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    mean = cv2.blur(grey, (side, side))
    variance = cv2.blur(grey * grey, (side, side)) - mean * mean
    deviation: npt.NDArray[np.float32] = np.sqrt(np.maximum(variance, 0))
    return deviation


def contrast(image: npt.NDArray[np.uint8], source: npt.NDArray[np.uint8], weight: npt.NDArray[np.float32]) -> float:
    """Root mean square difference of two images in grey levels, over channels and, by weight, over pixels."""
    total, region = float(weight.sum()), region_of(weight)
    if total <= 0 or region is None:
        return 0.0
    difference = _difference(image[region], source[region]).astype(np.float32)
    weighted = np.zeros(weight.shape, np.float32)  # summed as a whole: in parts, rounding would differ
    weighted[region] = np.einsum("hwc,hwc->hw", difference, difference) * weight[region]
    return float(np.sqrt(weighted.sum() / (3 * total)))


def target_contrast(severity: float, variation: npt.NDArray[np.float32], weight: npt.NDArray[np.float32]) -> float:
    """The contrast at which a defect of this severity should appear, in grey levels.

    Linear in the severity. A textured surface hides defects, so the slope grows with the local variation; small defects
    are harder to see than large ones, so they get somewhat more contrast.

    Args:
        severity: In (0, 1].
        variation: float32 [H, W] of `local_variation`.
        weight: float32 [H, W] in 0 to 1, the defect's shape.

    Returns:
        Grey levels, at least 2, as less would be lost in rounding.
    """
    total = max(float(weight.sum()), 1.0)
    around = float((variation * weight).sum()) / total
    smallness = float(np.clip((TYPICAL_AREA * weight.size / total) ** 0.15, 0.8, 1.8))
    return (FAINTEST_CONTRAST + severity * (CONTRAST_RANGE + VARIATION_GAIN * around)) * smallness


def changed_mask(
    before: npt.NDArray[np.uint8], after: npt.NDArray[np.uint8], weight: npt.NDArray[np.float32]
) -> npt.NDArray[np.bool_]:
    """The mask of the pixels that a drawn defect visibly changed.

    A pixel counts if the change, averaged over the defect's pixels next to it, is at least one grey level and a tenth
    of the strongest change. The average avoids holes where source and image agree by chance.

    Args:
        before: uint8 [H, W, 3].
        after: uint8 [H, W, 3].
        weight: float32 [H, W] in 0 to 1; pixels of at most 0.1 never count.

    Returns:
        bool [H, W].
    """
    mask: npt.NDArray[np.bool_] = np.zeros(weight.shape, np.bool_)
    region = region_of(weight > EDGE_WEIGHT, _WINDOW)  # within the margin, averages are as on the whole image
    if region is None:
        return mask
    within = (weight[region] > EDGE_WEIGHT).astype(np.float32)
    change = highest_channel(_difference(before[region], after[region])).astype(np.float32) * within
    window = (_WINDOW, _WINDOW)
    near = cv2.blur(change, window) / np.maximum(cv2.blur(within, window), 1e-6)
    mask[region] = (near * within) >= max(1.0, 0.1 * float(change.max()))
    return mask


def _difference(first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Absolute difference of parts of two images, uint8 [h, w, 3]."""
    return np.asarray(cv2.absdiff(np.ascontiguousarray(first), np.ascontiguousarray(second)), np.uint8)
