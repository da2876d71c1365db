"""The family ``cutpaste``: a patch of the product pasted at another position (CutPaste, CVPR 2021)."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from automl_ad.synthesis import masks
from automl_ad.synthesis.base import REFERENCE_SIDE, BlendedFamily, Proposal
from automl_ad.synthesis.colour import colour_jitter
from automl_ad.synthesis.regions import region_of

PATCH_AREA = (0.003, 0.15)
PATCH_ASPECT = (0.3, 3.3)
SCAR_WIDTH = (2.0, 16.0)
SCAR_HEIGHT = (10.0, 25.0)
SCAR_SHARE = 0.5
JITTER = 0.1
JITTER_GAIN = 0.3


class CutPasteFamily(BlendedFamily):
    """Patches (large, upright) and scars (small, thin, rotated) cut from the image itself, slightly recoloured."""

    name = "cutpaste"

    def propose(
        self, image: npt.NDArray[np.uint8], inside: npt.NDArray[np.bool_], severity: float, rng: np.random.Generator
    ) -> Proposal | None:
        """See `BlendedFamily.propose`. On uniform textures only colour changes are visible: they grow with severity."""
        height, width = image.shape[:2]
        if rng.random() < SCAR_SHARE:
            size, angle = scar_size(min(height, width), rng), float(rng.uniform(-45, 45))
        else:
            size, angle = patch_size(inside, rng), 0.0
        origin, target = masks.random_point(inside, rng), masks.random_point(inside, rng)
        weight = rectangle((height, width), target, size, angle) & inside
        region = region_of(weight)
        if region is None:
            return None
        source = moved(image, origin, target, angle)
        jittered = colour_jitter(source, rng, JITTER + JITTER_GAIN * severity, region)
        return Proposal(jittered, weight.astype(np.float32))


def patch_size(
    inside: npt.NDArray[np.bool_], rng: np.random.Generator, area: tuple[float, float] = PATCH_AREA
) -> tuple[float, float]:
    """(width, height) in pixels of a patch: log-uniform area as a share of the product, log-uniform aspect."""
    pixels = masks.log_uniform(*area, rng) * float(np.count_nonzero(inside))
    aspect = masks.log_uniform(*PATCH_ASPECT, rng)
    return max(2.0, float(np.sqrt(pixels * aspect))), max(2.0, float(np.sqrt(pixels / aspect)))


def scar_size(side: int, rng: np.random.Generator) -> tuple[float, float]:
    """(width, height) in pixels of a scar: the published sizes are for 256 pixels and are scaled with the side."""
    scale = side / REFERENCE_SIDE
    width, height = (float(rng.uniform(*limits)) * scale for limits in (SCAR_WIDTH, SCAR_HEIGHT))
    return max(2.0, width), max(3.0, height)


def rectangle(
    shape: tuple[int, int], centre: tuple[int, int], size: tuple[float, float], angle: float
) -> npt.NDArray[np.bool_]:
    """A filled rectangle, bool [H, W], around a (row, column), rotated by degrees."""
    corners = cv2.boxPoints(((float(centre[1]), float(centre[0])), size, angle))
    canvas = np.zeros(shape, np.uint8)
    cv2.fillConvexPoly(canvas, np.rint(corners).astype(np.int32), 1)
    return canvas.astype(bool)


def moved(
    image: npt.NDArray[np.uint8], origin: tuple[int, int], target: tuple[int, int], angle: float
) -> npt.NDArray[np.uint8]:
    """The image, rotated about ``origin`` and shifted so that this point moves to ``target``."""
    matrix = cv2.getRotationMatrix2D((float(origin[1]), float(origin[0])), -angle, 1.0)
    matrix[:, 2] += (target[1] - origin[1], target[0] - origin[0])
    size = (image.shape[1], image.shape[0])
    return np.asarray(cv2.warpAffine(image, matrix, size, borderMode=cv2.BORDER_REFLECT_101), np.uint8)
