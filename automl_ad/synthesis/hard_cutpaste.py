"""CutPaste from a strongly augmented copy of the image: the anomalies of AnoSeg (arXiv 2110.03396, figure 3)."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from automl_ad.synthesis import masks
from automl_ad.synthesis.base import Context
from automl_ad.synthesis.blending import blend, changed_mask, contrast
from automl_ad.synthesis.colour import colour_jitter
from automl_ad.synthesis.cutpaste import moved, patch_size, rectangle, scar_size
from automl_ad.synthesis.sources import Image, Mask

AREA = (0.02, 0.15)
"""Smallest and largest area of a patch as a share of the product."""
SCAR_SHARE = 0.25
TURN = 45.0
"""Largest rotation of a patch in degrees, in either direction."""
CHANGE_SHARE = 0.5
"""Probability of each of the three changes."""
JITTER = (0.1, 0.5)
ATTEMPTS = 5
LEAST_CONTRAST = 8.0
"""Root mean square contrast in grey levels below which a patch is drawn again."""


class HardCutPasteSource:
    """Pastes a rotated patch of the rotated, shuffled and recoloured image at a random position.

    Details not given in the paper follow CutPaste (CVPR 2021): the patch sizes, and that some patches are scars.

    Args:
        context: Provides the foreground.
        opacity: Lowest and highest opacity of a patch; 1 as published.
    """

    def __init__(self, context: Context, opacity: tuple[float, float] = (1.0, 1.0)) -> None:
        self._foreground = context.foreground
        self._opacity = opacity

    def draw(self, image: Image, rng: np.random.Generator) -> tuple[Image, Mask]:
        """See ``AnomalySource.draw``.

        The mask is inside the product and never empty; nothing changes outside it. A patch with low contrast is drawn
        again a few times; the most visible one is kept.
        """
        inside = self._foreground.mask_of(image)
        best, mask, highest = image, np.zeros_like(inside), 0.0
        for _ in range(ATTEMPTS):
            pasted, shape = self._paste(image, inside, rng)
            seen = contrast(image, pasted, shape.astype(np.float32))
            if seen > highest:
                best, mask, highest = pasted, changed_mask(image, pasted, shape.astype(np.float32)), seen
            if highest >= LEAST_CONTRAST:
                break
        if not mask.any():  # for example on a black image
            best, mask = image ^ np.uint8(128), shape
        return np.where(mask[..., None], best, image), mask

    def _paste(self, image: Image, inside: Mask, rng: np.random.Generator) -> tuple[Image, Mask]:
        """The image with one patch, and the patch's shape inside the product, never empty."""
        source, product = hard_copy(image, inside, rng)
        scar = rng.random() < SCAR_SHARE
        size = scar_size(min(inside.shape), rng) if scar else patch_size(inside, rng, AREA)
        angle = float(rng.uniform(-TURN, TURN))
        origin, target = masks.random_point(product, rng), masks.random_point(inside, rng)
        shape = rectangle((inside.shape[0], inside.shape[1]), target, size, angle) & inside
        shape[target] = True
        opacity = float(rng.uniform(*self._opacity))
        return blend(image, moved(source, origin, target, angle), shape, opacity), shape


def hard_copy(image: Image, inside: Mask, rng: np.random.Generator) -> tuple[Image, Mask]:
    """Rotates, shuffles the quadrants of, and recolours an image, in this order, each with probability one half.

    Args:
        image: uint8 [H, W, 3].
        inside: bool [H, W], where the product is, at least one pixel.
        rng: The only source of randomness.

    Returns:
        The copy, uint8 [H, W, 3], and where the product is on it, bool [H, W], never empty.
    """
    turns, shuffles, recolours = rng.random(3) < CHANGE_SHARE
    copy, product = image, inside.astype(np.uint8)
    if turns:
        angle = float(rng.uniform(0, 360))
        copy, product = _turned(copy, angle), _turned(product, angle)
    if shuffles:
        order = rng.permutation(4)
        copy, product = _shuffled(copy, order), _shuffled(product, order)
    if recolours:
        copy = colour_jitter(copy, rng, float(rng.uniform(*JITTER)))
    return copy, product.astype(bool) if product.any() else np.ones_like(inside)


def _turned(image: Image, angle: float) -> Image:
    """Rotates a uint8 [H, W] or [H, W, 3] image about its centre by degrees, with reflection at the border."""
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0)
    return np.asarray(cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101), np.uint8)


def _shuffled(image: Image, order: npt.NDArray[np.int64]) -> Image:
    """Permutes the quadrants of an image; for odd sides the last row or column is unchanged."""
    height, width = (side // 2 for side in image.shape[:2])
    corners = [(0, 0), (0, width), (height, 0), (height, width)]
    shuffled: Image = image.copy()
    for (row, column), place in zip(corners, order, strict=True):
        top, left = corners[int(place)]
        shuffled[row : row + height, column : column + width] = image[top : top + height, left : left + width]
    return shuffled
