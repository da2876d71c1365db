"""The family ``missing``: a piece of the product is not there, and what lies behind or around it shows instead."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from automl_ad.synthesis import masks
from automl_ad.synthesis.base import BlendedFamily, Proposal
from automl_ad.synthesis.inpainting import inpainted

Image = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

AREA = (0.005, 0.12)
"""Of what is missing, as a share of the product."""
_SOFTNESS = 0.15
_HALO = 1 / 64
"""Of the shorter side: so near the product, light and shadow of it tinge the background."""


class MissingFamily(BlendedFamily):
    """Where there is background, a chip broken from the rim, which the background fills; else a worn-off patch.

    What fills a worn-off patch is the surface beyond its edge, carried inwards without detail.
    """

    name = "missing"

    def propose(self, image: Image, inside: Mask, severity: float, rng: np.random.Generator) -> Proposal | None:
        """See `BlendedFamily.propose`."""
        return worn_patch(image, inside, rng) if inside.all() else chip(image, inside, rng)


def worn_patch(image: Image, inside: Mask, rng: np.random.Generator) -> Proposal:
    """A spot anywhere on the product, without its detail."""
    weight = masks.random_blob(inside, rng, AREA, _SOFTNESS)
    return Proposal(inpainted(image, weight == 0), weight)


def chip(image: Image, inside: Mask, rng: np.random.Generator) -> Proposal:
    """A spot around a point of the product's rim, with the background carried into it; some pixels must be outside."""
    rim = inside & ~cv2.erode(inside.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    weight = masks.blob_at(masks.random_point(rim, rng), inside, masks.random_radii(inside, rng, AREA), _SOFTNESS, rng)
    return Proposal(inpainted(image, _background(inside)), weight)


def _background(inside: Mask) -> Mask:
    """What lies clear of the product; all that is not product where nothing lies clear of it."""
    reach = 2 * round(_HALO * min(inside.shape)) + 1
    clear = cv2.dilate(inside.astype(np.uint8), np.ones((reach, reach), np.uint8)) == 0
    return clear if clear.any() else ~inside
