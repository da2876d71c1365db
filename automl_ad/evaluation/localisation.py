"""Localisation scores: map values on the ground truth mask of an anomaly."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

LEAST_SHARE = 0.25
"""Share of a map pixel that the mask must cover; if none reaches it, the most covered pixel counts."""


def localisation_scores(maps: npt.NDArray[np.float32], masks: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """The highest value of each map on its anomaly.

    An image score may be high because of noise elsewhere on the image. The localisation AUROC compares the values on
    the anomaly itself with the maxima of good images, so that a noisy detector gains nothing.

    Args:
        maps: [N, h, w], at the detector's own resolution, higher = more anomalous.
        masks: bool [N, H, W], each with at least one True: where the anomaly is on the image.

    Returns:
        float64 [N], on the scale of the maps.
    """
    size = (maps.shape[2], maps.shape[1])
    found = np.empty(len(maps))
    for row, (values, mask) in enumerate(zip(maps, masks, strict=True)):
        covered = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        found[row] = values[covered >= min(LEAST_SHARE, float(covered.max()))].max()
    return found
