"""The family ``missing``: a missing piece of the product, filled with background or surrounding surface."""

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
"""Area of the missing piece as a share of the product."""
_SOFTNESS = 0.15
_HALO = 1 / 64
"""Margin around the product, as a share of the shorter side, where its light and shadow affect the background."""


class MissingFamily(BlendedFamily):
    """With a background, a chip at the rim, filled with background; otherwise a worn patch.

    A worn patch is filled smoothly from the surrounding surface, without detail.
    """

    name = "missing"

    def propose(self, image: Image, inside: Mask, severity: float, rng: np.random.Generator) -> Proposal | None:
        """See `BlendedFamily.propose`."""
        return worn_patch(image, inside, rng) if inside.all() else chip(image, inside, rng)


def worn_patch(image: Image, inside: Mask, rng: np.random.Generator) -> Proposal:
    """A spot on the product whose detail is removed."""
    weight = masks.random_blob(inside, rng, AREA, _SOFTNESS)
    return Proposal(inpainted(image, weight == 0), weight)


def chip(image: Image, inside: Mask, rng: np.random.Generator) -> Proposal:
    """A spot at the product's rim, filled with background; some pixels must be outside the product."""
    rim = inside & ~cv2.erode(inside.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    weight = masks.blob_at(masks.random_point(rim, rng), inside, masks.random_radii(inside, rng, AREA), _SOFTNESS, rng)
    return Proposal(inpainted(image, _background(inside)), weight)


def _background(inside: Mask) -> Mask:
    """The background beyond the margin of the product; without any, the whole background."""
    reach = 2 * round(_HALO * min(inside.shape)) + 1
    clear = cv2.dilate(inside.astype(np.uint8), np.ones((reach, reach), np.uint8)) == 0
    return clear if clear.any() else ~inside
