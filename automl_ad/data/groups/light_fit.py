"""Explains the difference of two mean images by another light and another focus."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from automl_ad.data.groups.descriptions import THUMBNAIL, Floats

_BLURS = (0.0, 0.5, 0.8, 1.2, 2.0, 3.0)
"""Standard deviations of the blur, in pixels of a thumbnail."""
_SATURATED = 0.97
_DIMMEST = 0.05


@dataclass(frozen=True)
class LightFit:
    """The light and blur that bring one mean image closest to another.

    Attributes:
        rest: [32, 32], what they leave of the difference, in units of white, not negative.
        tint: Log of the change of red to blue.
    """

    rest: Floats
    tint: float


def fit_light(one: Floats, other: Floats) -> LightFit:
    """Fits in both directions and returns the better fit.

    Each colour may have a gain that varies linearly over the image; saturated pixels do not count.

    Args:
        one: Mean image, [32, 32, 3], 0 to 1.
        other: The same.
    """
    fits = [_fit(_blurred(a, sigma), b) for a, b in ((one, other), (other, one)) for sigma in _BLURS]
    return min(fits, key=lambda fit: float((fit.rest**2).sum()))


def _blurred(image: Floats, sigma: float) -> Floats:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float64) if sigma else image


def _fit(source: Floats, target: Floats) -> LightFit:
    usable = ((source < _SATURATED) & (target < _SATURATED)).all(axis=2)
    if usable.sum() < THUMBNAIL:
        return LightFit(np.zeros((THUMBNAIL, THUMBNAIL)), 0.0)
    down, across = np.mgrid[:THUMBNAIL, :THUMBNAIL] / (THUMBNAIL - 1) - 0.5
    rest, gains = np.zeros((THUMBNAIL, THUMBNAIL)), []
    for channel in range(3):
        known, wanted = source[:, :, channel], target[:, :, channel]
        basis = np.stack([known, known * across, known * down], axis=-1)
        gain, *_ = np.linalg.lstsq(basis[usable], wanted[usable], rcond=None)
        rest = np.maximum(rest, np.abs(wanted - basis @ gain) * usable)
        gains.append(float(gain[0]))
    red, blue = np.log(np.maximum([gains[0], gains[2]], _DIMMEST))
    return LightFit(np.asarray(cv2.GaussianBlur(rest, (0, 0), 0.7)), float(red - blue))
