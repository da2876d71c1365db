"""How well whole pictures tell defective parts, without a look at any place in them.

Where they do, defective parts were perhaps photographed otherwise, or differ as a whole; synthetic anomalies, which are
local, say nothing of that.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from automl_ad.evaluation.metrics import image_auroc

Pixels = npt.NDArray[np.uint8]
"""RGB, channels first."""


def whole_picture_aurocs(train: Pixels, test: Pixels, labels: npt.NDArray[np.bool_]) -> dict[str, float]:
    """Image AUROC of how far a statistic of a picture lies from the mean of the good training pictures.

    Args:
        train: uint8 [N, 3, H, W], good.
        test: uint8 [M, 3, H, W].
        labels: bool [M], defective.
    """
    found = {}
    for name, statistic in STATISTICS.items():
        known, seen = (np.array([statistic(picture) for picture in pictures]) for pictures in (train, test))
        found[name] = image_auroc(np.abs(seen - known.mean()), labels)
    return found


def _brightness(picture: Pixels) -> float:
    return float(picture.mean())


def _contrast(picture: Pixels) -> float:
    return float(picture.mean(0).std())


def _sharpness(picture: Pixels) -> float:
    """Log of the spread of the Laplacian: fine detail, in units of which a doubling counts alike everywhere."""
    return float(np.log(cv2.Laplacian(picture.astype(np.float32).mean(0), cv2.CV_32F).std() + 1e-3))


def _saturation(picture: Pixels) -> float:
    return float((picture.max(0).astype(np.float32) - picture.min(0)).mean())


STATISTICS: dict[str, Callable[[Pixels], float]] = {
    "brightness": _brightness,
    "contrast": _contrast,
    "sharpness": _sharpness,
    "saturation": _saturation,
}
