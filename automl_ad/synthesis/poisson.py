"""The family ``poisson``: seamlessly cloned patches of other good images (NSA, ECCV 2022).

`automl_ad.synthesis.gradients.seamless_clone` says why ``cv2.seamlessClone`` is not used.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from automl_ad.synthesis import blending, masks
from automl_ad.synthesis.base import BlendedFamily, Proposal
from automl_ad.synthesis.gradients import seamless_clone
from automl_ad.synthesis.regions import region_of

Image = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Weight = npt.NDArray[np.float32]

HALF_WIDTH = (0.03, 0.15)
GAMMA_SHAPE, GAMMA_SCALE = 2.0, 0.05
FEWEST_PIXELS = 4
RESIZE = (0.7, 1.3)
MOST_PATCHES = 3
LEAST_OVERLAP = 0.75
PLACES = 8
EMPHASIS = 3.0


class PoissonFamily(BlendedFamily):
    """One to three patches of other normals whose gradients, not colours, are transferred.

    Textures use the stronger of both gradients; objects use those of the patch, as their surfaces are smooth.
    """

    name = "poisson"

    def propose(self, image: Image, inside: Mask, severity: float, rng: np.random.Generator) -> Proposal | None:
        """See `BlendedFamily.propose`. More severe defects are also somewhat larger."""
        cloned, weight = image.copy(), np.zeros(image.shape[:2], np.float32)
        for index in range(MOST_PATCHES):
            if index and rng.random() < 0.5:
                break
            size = _patch_size(inside, severity, rng)
            place = _free_place(inside & (weight == 0), size, rng)
            if place is not None:
                self._clone_into(cloned, weight, place, rng)
        region = region_of(weight)
        if region is None:
            return None
        cloned[region] = _emphasised(image[region], cloned[region])
        return Proposal(cloned, weight)

    def _clone_into(self, cloned: Image, weight: Weight, place: tuple[slice, slice], rng: np.random.Generator) -> None:
        """Clones a patch over one rectangle and adds the pixels that it changes to the weight."""
        ground = cloned[place]
        patch = self._borrow((ground.shape[0], ground.shape[1]), rng)
        result = seamless_clone(patch, ground, mixed=self.context.foreground.is_whole_image)
        changed = _without_specks(blending.changed_mask(ground, result, np.ones(ground.shape[:2], np.float32)))
        weight[place] = np.maximum(weight[place], changed)
        cloned[place] = np.where(changed[..., None], result, ground)

    def _borrow(self, size: tuple[int, int], rng: np.random.Generator) -> Image:
        """A patch of (H, W) pixels around a point of the product on a random normal, magnified 0.7 to 1.3 times."""
        donor = self.context.normals[rng.integers(len(self.context.normals))]
        row, column = masks.random_point(self.context.product_of(donor), rng)
        scale = float(np.clip(rng.normal(1, 0.5), *RESIZE))
        cut = (_span(row, size[0] / scale, donor.shape[0]), _span(column, size[1] / scale, donor.shape[1]))
        patch: Image = cv2.resize(donor[cut], (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
        return patch


def _patch_size(inside: Mask, severity: float, rng: np.random.Generator) -> tuple[int, int]:
    """(height, width) in pixels: half of either is 3 % + Gamma(2, 0.05) of the side, 0.8 to 1 times by severity.

    The side is that of the image, scaled down if the product fills less of it.
    """
    fill = float(np.sqrt(np.count_nonzero(inside) / inside.size))
    sides = []
    for side in inside.shape:
        half = float(np.clip(HALF_WIDTH[0] + rng.gamma(GAMMA_SHAPE, GAMMA_SCALE), *HALF_WIDTH))
        sides.append(2 * max(FEWEST_PIXELS, round(half * fill * side * (0.8 + 0.2 * severity))) + 1)
    return sides[0], sides[1]


def _free_place(free: Mask, size: tuple[int, int], rng: np.random.Generator) -> tuple[slice, slice] | None:
    """A rectangle of that size around a free point; of a few draws, one that is three quarters free, or the best."""
    if not free.any():
        return None
    best, most = None, 0.0
    for _ in range(PLACES):
        row, column = masks.random_point(free, rng)
        place = (_span(row, size[0], free.shape[0]), _span(column, size[1], free.shape[1]))
        share = float(free[place].mean())
        if share >= LEAST_OVERLAP:
            return place
        if share > most:
            best, most = place, share
    return best


def _span(centre: int, length: float, limit: int) -> slice:
    """About ``length`` pixels around a centre, moved to lie within 0 to ``limit``."""
    whole = min(limit, max(3, round(length)))
    start = min(max(0, centre - whole // 2), limit - whole)
    return slice(start, start + whole)


def _without_specks(changed: Mask) -> Mask:
    """Closes gaps where patch and image agree by chance and removes single pixels."""
    square = np.ones((3, 3), np.uint8)
    opened = cv2.morphologyEx(changed.astype(np.uint8), cv2.MORPH_OPEN, square)
    closed: Mask = cv2.morphologyEx(opened, cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8)).astype(bool)
    return closed


def _emphasised(image: Image, cloned: Image) -> Image:
    """Triples the change, as good images differ too little for severe defects."""
    base = image.astype(np.float32)
    return np.clip(np.rint(base + EMPHASIS * (cloned - base)), 0, 255).astype(np.uint8)
