"""CutPaste from a heavily changed copy of the image: the anomalies of AnoSeg (arXiv 2110.03396, figure 3)."""

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
"""Least and largest area of a patch as a share of the product."""
SCAR_SHARE = 0.25
TURN = 45.0
"""By how many degrees a patch is turned at most, either way."""
CHANGE_SHARE = 0.5
"""Probability of each of the three changes."""
JITTER = (0.1, 0.5)
ATTEMPTS = 5
LEAST_CONTRAST = 8.0
"""Grey levels, root mean square, below which a patch is drawn again."""


class HardCutPasteSource:
    """A patch of the turned, shuffled and recoloured image sits, itself turned, at a random place of the image.

    What the paper leaves open follows CutPaste (CVPR 2021): how large patches are, and that some are scars.

    Args:
        context: Tells where the product is.
        opacity: Lowest and highest opacity of a patch; the published one is 1.
    """

    def __init__(self, context: Context, opacity: tuple[float, float] = (1.0, 1.0)) -> None:
        self._foreground = context.foreground
        self._opacity = opacity

    def draw(self, image: Image, rng: np.random.Generator) -> tuple[Image, Mask]:
        """See ``AnomalySource.draw``.

        The mask lies on the product and is never empty; nothing changes outside it. A patch that hardly differs from
        what it covers is drawn again, a few times; the most visible one is kept.
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
        if not mask.any():  # on black, say, no copy of the image can be seen
            best, mask = image ^ np.uint8(128), shape
        return np.where(mask[..., None], best, image), mask

    def _paste(self, image: Image, inside: Mask, rng: np.random.Generator) -> tuple[Image, Mask]:
        """One patch: the image with it, and its shape within the product, never empty."""
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
    """Turns, shuffles the quarters of, and recolours an image, in this order and each as by the toss of a coin.

    Args:
        image: uint8 [H, W, 3].
        inside: bool [H, W], where the product is, at least one pixel.
        rng: Decides all of it.

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
    """A uint8 [H, W] or [H, W, 3] image turned about its centre by degrees; reflections fill the corners."""
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0)
    return np.asarray(cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101), np.uint8)


def _shuffled(image: Image, order: npt.NDArray[np.int64]) -> Image:
    """A image with its quarters in another order; of odd sides the last row or column stays where it is."""
    height, width = (side // 2 for side in image.shape[:2])
    corners = [(0, 0), (0, width), (height, 0), (height, width)]
    shuffled: Image = image.copy()
    for (row, column), place in zip(corners, order, strict=True):
        top, left = corners[int(place)]
        shuffled[row : row + height, column : column + width] = image[top : top + height, left : left + width]
    return shuffled
