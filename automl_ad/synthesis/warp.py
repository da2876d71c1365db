"""The family ``warp``: a local deformation of the product by a push, swell, pinch or twist."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from automl_ad.synthesis import masks
from automl_ad.synthesis.base import ATTEMPTS, AnomalyFamily
from automl_ad.synthesis.regions import Region, highest_channel, region_of

Floats = npt.NDArray[np.float32]
Image = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

AREA = (0.01, 0.12)
"""Area of the spot as a share of the product."""
FARTHEST = 0.09
"""Largest displacement at severity 1, as a share of the shorter side."""
_SOFTNESS = 0.9
_LEAST_CHANGE = 2
"""Grey levels below which a pixel counts as unchanged."""
_GAP = 5
"""Side in pixels of the square that closes gaps, and margin within which the rest of an image plays no part in it."""


class WarpFamily(AnomalyFamily):
    """Displaces pixels instead of painting over them; the severity determines how far.

    On a surface without detail no displacement is visible: such attempts fail.
    """

    name = "warp"

    def attempt(
        self, image: Image, inside: Mask, severity: float, rng: np.random.Generator
    ) -> tuple[Image, Mask] | None:
        """See `AnomalyFamily.attempt`: of several positions the one with the most visible change."""
        best, most = None, 0
        for _ in range(ATTEMPTS):
            weight = masks.random_blob(inside, rng, AREA, _SOFTNESS)
            region = region_of(weight, _GAP)
            if region is None:
                continue
            field = displacement(weight[region], FARTHEST * severity * min(inside.shape), rng, region)
            warped, spot = displaced(image, field, region), weight[region] > 0
            change = _change(image[region], warped) * spot
            seen = int(change[change >= _LEAST_CHANGE].sum())
            if seen > most:
                best, most = (region, warped, _changed(change) & spot), seen
        return None if best is None else _placed(image, *best)


def displacement(weight: Floats, distance: float, rng: np.random.Generator, region: Region) -> Floats:
    """Displacements of a push, swell, pinch or twist over a soft spot, float32 [h, w, 2] as (x, y) in pixels.

    Args:
        weight: float32 [h, w] in 0 to 1, with at least one above 0: the part of an image that holds the spot.
        distance: Largest displacement in pixels.
        rng: Draws kind and direction.
        region: Where this part lies on the image.
    """
    spot = weight > 0
    x, y = _coordinates(region)
    directions = _KINDS[rng.integers(len(_KINDS))](x - x[spot].mean(), y - y[spot].mean(), rng)
    field = weight[..., None] * np.stack(directions, axis=-1)
    longest = max(float(np.hypot(field[..., 0], field[..., 1]).max()), 1e-6)
    return np.asarray(field * (distance / longest), np.float32)


def displaced(image: Image, field: Floats, region: Region) -> Image:
    """A region of the image, sampled at the displacements ``field``, float32 [h, w, 2] as (x, y) in pixels."""
    x, y = _coordinates(region)
    x, y = x + field[..., 0], y + field[..., 1]
    # Linear interpolation would blur fine texture, which could be detected by its smoothness alone.
    return np.asarray(cv2.remap(image, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101), np.uint8)


def _coordinates(region: Region) -> tuple[Floats, Floats]:
    """Column and row, on the image, of every pixel of a region, float32 [h, w] each."""
    rows, columns = (np.arange(side.start, side.stop, dtype=np.float32) for side in region)
    x, y = np.meshgrid(columns, rows)
    return x, y


def _placed(image: Image, region: Region, warped: Image, changed: Mask) -> tuple[Image, Mask]:
    """The image with the changed pixels of a region, and the mask of these."""
    result, mask = image.copy(), np.zeros(image.shape[:2], np.bool_)
    result[region] = np.where(changed[..., None], warped, image[region])
    mask[region] = changed
    return result, mask


def _push(x: Floats, y: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    angle = rng.uniform(0, 2 * np.pi)
    return np.full_like(x, np.cos(angle)), np.full_like(y, np.sin(angle))


def _swell_or_pinch(x: Floats, y: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    sign = np.float32(rng.choice((-1, 1)))
    return sign * x, sign * y


def _twist(x: Floats, y: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    sign = np.float32(rng.choice((-1, 1)))
    return -sign * y, sign * x


def _change(image: Image, warped: Image) -> npt.NDArray[np.uint8]:
    """How much every pixel changed in the channel that changed most, uint8 [h, w]."""
    return highest_channel(np.asarray(cv2.absdiff(np.ascontiguousarray(image), warped), np.uint8))


def _changed(change: npt.NDArray[np.uint8]) -> Mask:
    """Where the change is visible, with gaps closed where old and new agree by chance."""
    changed = (change >= _LEAST_CHANGE).astype(np.uint8)
    return cv2.morphologyEx(changed, cv2.MORPH_CLOSE, np.ones((_GAP, _GAP), np.uint8)).astype(bool)


_KINDS: tuple[Callable[[Floats, Floats, np.random.Generator], tuple[Floats, Floats]], ...] = (
    _push,
    _swell_or_pinch,
    _twist,
)
