"""The family ``warp``: a local deformation of the product by a push, swell, pinch or twist."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from automl_ad.synthesis import masks
from automl_ad.synthesis.base import ATTEMPTS, AnomalyFamily

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
            warped = displaced(image, displacement(weight, FARTHEST * severity * min(inside.shape), rng))
            change = cv2.absdiff(image, warped).max(axis=2) * (weight > 0)
            seen = int(change[change >= _LEAST_CHANGE].sum())
            if seen > most:
                mask = _changed(change) & (weight > 0)
                best, most = (np.where(mask[..., None], warped, image), mask), seen
        return best


def displacement(weight: Floats, distance: float, rng: np.random.Generator) -> Floats:
    """Displacements of a push, swell, pinch or twist over a soft spot, float32 [H, W, 2] as (x, y) in pixels.

    Args:
        weight: float32 [H, W] in 0 to 1, with at least one above 0.
        distance: Largest displacement in pixels.
        rng: Draws kind and direction.
    """
    spot = weight > 0
    x, y = _coordinates(weight.shape)
    directions = _KINDS[rng.integers(len(_KINDS))](x - x[spot].mean(), y - y[spot].mean(), rng)
    field = weight[..., None] * np.stack(directions, axis=-1)
    longest = max(float(np.hypot(field[..., 0], field[..., 1]).max()), 1e-6)
    return np.asarray(field * (distance / longest), np.float32)


def displaced(image: Image, field: Floats) -> Image:
    """The image, sampled at the displacements ``field``, float32 [H, W, 2] as (x, y) in pixels."""
    x, y = _coordinates(field.shape)
    x, y = x + field[..., 0], y + field[..., 1]
    # Linear interpolation would blur fine texture, which could be detected by its smoothness alone.
    return np.asarray(cv2.remap(image, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101), np.uint8)


def _coordinates(shape: tuple[int, ...]) -> tuple[Floats, Floats]:
    """Column and row of every pixel of an image (H, W, ...), float32 [H, W] each."""
    x, y = np.meshgrid(np.arange(shape[1], dtype=np.float32), np.arange(shape[0], dtype=np.float32))
    return x, y


def _push(x: Floats, y: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    angle = rng.uniform(0, 2 * np.pi)
    return np.full_like(x, np.cos(angle)), np.full_like(y, np.sin(angle))


def _swell_or_pinch(x: Floats, y: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    sign = np.float32(rng.choice((-1, 1)))
    return sign * x, sign * y


def _twist(x: Floats, y: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    sign = np.float32(rng.choice((-1, 1)))
    return -sign * y, sign * x


def _changed(change: npt.NDArray[np.uint8]) -> Mask:
    """Where the change is visible, with gaps closed where old and new agree by chance."""
    changed = (change >= _LEAST_CHANGE).astype(np.uint8)
    return cv2.morphologyEx(changed, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)).astype(bool)


_KINDS: tuple[Callable[[Floats, Floats, np.random.Generator], tuple[Floats, Floats]], ...] = (
    _push,
    _swell_or_pinch,
    _twist,
)
