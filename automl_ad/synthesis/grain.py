"""Estimates the grain direction of a surface."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt


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
