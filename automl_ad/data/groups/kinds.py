"""Says what makes two groups of images different: the product, the camera or the light."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from scipy.optimize import least_squares

from automl_ad.data.groups.descriptions import FREQUENCIES, THUMBNAIL, Descriptions, Floats
from automl_ad.data.groups.light_fit import fit_light

Kind = Literal["product", "light", "camera", "angle", "time"]

_LEFT_OVER = 0.08
"""Difference of mean images, of white, that neither light nor blur explain."""
_STANDARD_ERRORS = 6.0
_TINTED = np.log(2.0)
"""Change of red to blue that is too large for two lights."""
_POWER_LEFT_OVER = 0.6
"""Difference of log power that neither contrast nor blur nor noise explain."""
_FAINTEST_POWER = 1e-3
"""Power of rounding to 8 bits."""
_ALIGNED = 0.7
_LEAST_MOVED, _MOST_MOVED = 0.1, 4.0
"""Movements of a part from image to image, in pixels of a thumbnail."""
_CAMERA_CHANGE = np.log(1.25)
_SEPARATED = 4.0
"""Standard deviations within the groups between their means."""


def kind_of(one: Descriptions, other: Descriptions) -> Literal["product", "light", "camera"]:
    """What makes two groups different.

    Another product, or another view, is what no change of light or camera explains: no gain of each colour that
    varies linearly over the image, with a blur, makes one mean image into the other, or no contrast, blur and noise one
    power spectrum into the other. Else the camera differs if noise or sharpness do, or else the light.
    """
    # Of parts that lie alike, the mean images tell everything; of textures, nothing.
    aligned = min(float(np.linalg.norm(each.layout.mean(axis=0))) for each in (one, other)) > _ALIGNED
    if _other_image(one, other) or (not aligned and _other_texture(one, other)):
        return "product"
    return "camera" if _other_camera(one, other) else "light"


def is_moved(one: Descriptions, other: Descriptions) -> bool:
    """Whether a small movement makes one mean image into the other: where a part lies makes no group."""
    source, target = one.thumbnails.mean(axis=0), other.thumbnails.mean(axis=0)
    window = cv2.createHanningWindow((THUMBNAIL, THUMBNAIL), cv2.CV_64F)
    (across, down), _ = cv2.phaseCorrelate(source.mean(axis=2), target.mean(axis=2), window)
    if not _LEAST_MOVED < np.hypot(across, down) < _MOST_MOVED:
        return False
    move = np.array([[1, 0, across], [0, 1, down]])
    moved = np.asarray(
        cv2.warpAffine(source, move, (THUMBNAIL, THUMBNAIL), borderMode=cv2.BORDER_REPLICATE), np.float64
    )
    fits = fit_light(source, target), fit_light(moved, target)
    before, after = (float(np.max(fit.rest)) for fit in fits)
    return abs(fits[1].tint) < _TINTED and before > _LEFT_OVER and after < max(_LEFT_OVER, before / 2)


def _other_image(one: Descriptions, other: Descriptions) -> bool:
    fit = fit_light(one.thumbnails.mean(axis=0), other.thumbnails.mean(axis=0))
    squares = sum(each.thumbnails.var(axis=0).mean(axis=2) / max(len(each.level) - 1, 1) for each in (one, other))
    error = np.sqrt(cv2.GaussianBlur(np.asarray(squares), (0, 0), 0.7))
    strange = (fit.rest > _LEFT_OVER) & (fit.rest > _STANDARD_ERRORS * error)
    return bool(strange.any()) or abs(fit.tint) > _TINTED


def _other_texture(one: Descriptions, other: Descriptions) -> bool:
    means = one.spectrum.mean(axis=0), other.spectrum.mean(axis=0)
    spread = np.sqrt((one.spectrum.var(axis=0) + other.spectrum.var(axis=0)).sum() / 2)
    if np.linalg.norm(means[0] - means[1]) < _SEPARATED * spread / np.sqrt(len(means[0])):
        return False
    powers = [each.power.mean(axis=0) for each in (one, other)]
    return min(_unexplained_power(*powers), _unexplained_power(*powers[::-1])) > _POWER_LEFT_OVER


def _unexplained_power(source: Floats, target: Floats) -> float:
    """Root mean square of the difference of two log power spectra after the best contrast, blur and noise."""
    squares = np.repeat((FREQUENCIES / FREQUENCIES[-1]) ** 2, len(source) // len(FREQUENCIES))

    def rest(change: Floats) -> Floats:
        contrast, blur, noise = change
        changed = source * np.exp(contrast - blur * squares) + np.exp(noise)
        return np.asarray(np.log(changed + _FAINTEST_POWER) - np.log(target + _FAINTEST_POWER))

    start = np.array([0.0, 0.0, np.log(np.min(target) + _FAINTEST_POWER)])
    found = least_squares(rest, start, bounds=([-4, 0, -12], [4, 60, 8]))
    return float(np.sqrt(np.mean(found.fun**2)))


def _other_camera(one: Descriptions, other: Descriptions) -> bool:
    """Whether noise or sharpness differ, and not merely in proportion to the brightness."""
    levels = [np.log(each.level + 0.02) for each in (one, other)]
    for column in (0, 1):
        values = [each.camera[:, column] for each in (one, other)]
        changes = [_change(values)]
        if column == 0:
            changes.append(_change([value - level for value, level in zip(values, levels, strict=True)]))
        if min(abs(change) for change, _ in changes) > _CAMERA_CHANGE and changes[0][1] > _SEPARATED:
            return True
    return False


def _change(values: list[Floats]) -> tuple[float, float]:
    """Difference of two groups' means, and its size in standard deviations within the groups."""
    difference = float(values[1].mean() - values[0].mean())
    spread = np.sqrt((values[0].var() + values[1].var()) / 2)
    return difference, abs(difference) / max(float(spread), 0.02)
