"""Random colour, tone and rotation augmentations of textures and patches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from automl_ad.synthesis.regions import Region, channel_range

Image = npt.NDArray[np.uint8]

GREY_SPREAD = 3.0

LEVELS = np.arange(256, dtype=np.float32)
"""The identity lookup table."""
STRONGEST_CHANGE = 140.0
"""Grey levels."""


def colour_jitter(image: Image, rng: np.random.Generator, strength: float, region: Region | None = None) -> Image:
    """Changes brightness, contrast, saturation and hue, each by half to all of a share of its range.

    Args:
        image: uint8 [H, W, 3].
        rng: Draws the four amounts.
        strength: In 0 to 1; 0 changes nothing beyond rounding, 0.1 is what CutPaste (CVPR 2021) uses.
        region: Where the result is needed; elsewhere the image stays as it is. All of it when None.

    Returns:
        uint8 [H, W, 3], a new array.
    """
    # Amounts near zero would make a patch on a uniform texture invisible.
    brightness, contrast, saturation, hue = strength * rng.uniform(0.5, 1, 4) * rng.choice((-1.0, 1.0), 4)
    centre = sum(cv2.sumElems(image)) / image.size
    table = ((LEVELS - centre) * (1 + contrast) + centre) * (1 + brightness)
    changed: Image = image.copy()
    rows = slice(None) if region is None else region[0]  # whole rows: OpenCV rounds ends of rows differently
    changed[rows] = _shift_colours(by_table(image[rows], table), hue * 45, 1 + saturation)
    return changed


def augment(image: Image, rng: np.random.Generator, count: int = 2) -> Image:
    """Applies a few of: gamma, brightness, hue, posterise, invert, contrast, sharpen and rotate.

    The selection follows the source augmentation of DRAEM (ICCV 2021).

    Args:
        image: uint8 [H, W, 3].
        rng: Draws the changes and their strengths.
        count: How many changes, at most 8.

    Returns:
        uint8 [H, W, 3], a new array.
    """
    changed: Image = image.copy()
    for index in rng.choice(len(_CHANGES), size=count, replace=False):
        changed = _CHANGES[index](changed, rng)
    return changed


def by_table(image: Image, table: npt.NDArray[np.floating[Any]]) -> Image:
    """Maps every level of a uint8 image through a table of 256 values, rounded and clipped to 0 to 255."""
    return np.asarray(cv2.LUT(image, np.clip(np.rint(table), 0, 255).astype(np.uint8)), np.uint8)


def is_grey(image: Image) -> bool:
    """Whether a uint8 [H, W, 3] image has practically no colour: channels 3 levels apart on average, or less."""
    spread = float(np.mean(channel_range(image)))
    return spread <= GREY_SPREAD


def without_colour(image: Image) -> Image:
    """The luminance of a uint8 [H, W, 3] image in all three channels."""
    return np.asarray(cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), np.uint8)


def _shift_colours(image: Image, hue: float, saturation: float) -> Image:
    """Rotates the hue by OpenCV units (180 for a full circle) and scales the saturation."""
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV).astype(np.float32)
    hsv[..., 0] = (hsv[..., 0] + hue) % 180
    hsv[..., 1] = np.clip(hsv[..., 1] * saturation, 0, 255)
    return np.asarray(cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB), np.uint8)


def _gamma(image: Image, rng: np.random.Generator) -> Image:
    return by_table(image, 255 * (LEVELS / 255) ** np.float32(rng.uniform(0.5, 2.0)))


def _brightness(image: Image, rng: np.random.Generator) -> Image:
    return by_table(image, LEVELS * rng.uniform(0.8, 1.2) + rng.uniform(-30, 30))


def _hue(image: Image, rng: np.random.Generator) -> Image:
    return _shift_colours(image, float(rng.uniform(-35, 35)), float(rng.uniform(0.5, 1.5)))


def _posterise(image: Image, rng: np.random.Generator) -> Image:
    step = 256 / int(rng.integers(4, 12))
    return by_table(image, np.floor(LEVELS / step) * step + step / 2)


def _invert(image: Image, rng: np.random.Generator) -> Image:
    return np.asarray(255 - image, np.uint8)


def _stretch(image: Image, rng: np.random.Generator) -> Image:
    low, high = float(image.min()), float(image.max())
    return by_table(image, (LEVELS - low) * (255 / max(high - low, 1.0)))


def _sharpen(image: Image, rng: np.random.Generator) -> Image:
    amount = float(rng.uniform(0.5, 1.5))
    return np.asarray(cv2.addWeighted(image, 1 + amount, cv2.GaussianBlur(image, (0, 0), 2), -amount, 0), np.uint8)


def _rotate(image: Image, rng: np.random.Generator) -> Image:
    h, w = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((w / 2, h / 2), float(rng.uniform(-45, 45)), 1.0)
    return np.asarray(cv2.warpAffine(image, matrix, (w, h), borderMode=cv2.BORDER_REFLECT_101), np.uint8)


_CHANGES: tuple[Callable[[Image, np.random.Generator], Image], ...] = (
    _gamma,
    _brightness,
    _hue,
    _posterise,
    _invert,
    _stretch,
    _sharpen,
    _rotate,
)


def brightness_shifted(image: Image, inside: npt.NDArray[np.bool_], rng: np.random.Generator) -> Image:
    """The image much brighter or much darker, preferably away from saturation: uint8 [H, W, 3].

    Args:
        image: uint8 [H, W, 3].
        inside: bool [H, W] with at least one True: where the product is.
        rng: Chooses between brighter and darker.
    """
    return shifted(image, STRONGEST_CHANGE * shift_direction(image, inside, rng))


def shift_direction(image: Image, inside: npt.NDArray[np.bool_], rng: np.random.Generator) -> float:
    """+1 for brighter or -1 for darker, with probabilities proportional to the remaining range of grey levels."""
    on_product = cv2.bitwise_and(image, image, mask=inside.view(np.uint8))
    mean = sum(cv2.sumElems(on_product)) / (3 * np.count_nonzero(inside))
    return 1.0 if rng.random() > mean / 255 else -1.0


def shifted(image: Image, shift: float) -> Image:
    """The image with all levels shifted by ``shift`` grey levels and clipped."""
    return by_table(image, LEVELS + np.float32(shift))


def random_tint(image: Image, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """A random colour, or a random grey for a grey product: float64 [3] in 0 to 255."""
    return np.full(3, rng.uniform(0, 255)) if is_grey(image) else rng.uniform(0, 255, 3)
