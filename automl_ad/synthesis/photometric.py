"""The family ``photometric``: procedural blur, exposure errors, stains, scratches and pits."""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from automl_ad.synthesis import masks
from automl_ad.synthesis.base import BlendedFamily, Proposal, pixel_scale
from automl_ad.synthesis.colour import STRONGEST_CHANGE, brightness_shifted, random_tint, shift_direction, shifted
from automl_ad.synthesis.regions import region_of
from automl_ad.synthesis.strokes import dots, lines, walk

Image = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

SPOT_AREA = (0.004, 0.06)
_REACH = 3.0
"""Radius of OpenCV's Gaussian kernels in standard deviations."""


class PhotometricFamily(BlendedFamily):
    """Local changes of exposure and sharpness, and surface marks; one kind per image."""

    name = "photometric"

    def propose(self, image: Image, inside: Mask, severity: float, rng: np.random.Generator) -> Proposal | None:
        """See `BlendedFamily.propose`."""
        proposal = _KINDS[rng.integers(len(_KINDS))](image, inside, rng)
        return proposal if proposal.weight.any() else None


def blur(image: Image, inside: Mask, rng: np.random.Generator) -> Proposal:
    """A blurred spot: Gaussian blur, sigma 1/64 to 1/20 of the shorter side."""
    sigma = min(image.shape[:2]) * float(rng.uniform(1 / 64, 1 / 20))
    weight = masks.random_blob(inside, rng, (0.01, 0.12), 0.4)
    region, blurred = region_of(weight, math.ceil(_REACH * sigma) + 1), image.copy()
    if region is not None:
        blurred[region] = cv2.GaussianBlur(np.ascontiguousarray(image[region]), (0, 0), sigma)
    return Proposal(blurred, weight)


def exposure(image: Image, inside: Mask, rng: np.random.Generator) -> Proposal:
    """An overexposed or underexposed spot, equal in all channels."""
    return Proposal(brightness_shifted(image, inside, rng), masks.random_blob(inside, rng, (0.008, 0.1), 0.6))


def stain(image: Image, inside: Mask, rng: np.random.Generator) -> Proposal:
    """A semi-transparent drop or smear of another colour."""
    tint, softness = random_tint(image, rng), float(rng.uniform(0.1, 0.5))
    weight = masks.random_blob(inside, rng, SPOT_AREA, softness)
    region, tinted = region_of(weight), image.copy()
    if region is not None:
        tinted[region] = np.rint(0.3 * image[region] + 0.7 * tint)
    return Proposal(tinted, weight)


def scratch(image: Image, inside: Mask, rng: np.random.Generator) -> Proposal:
    """A curved line with a core of one tone and often a fainter opposite rim, like a groove under oblique light."""
    path = _curve(inside, rng)
    width = max(1, round(float(rng.uniform(1.0, 3.0)) * pixel_scale(image.shape)))
    core = lines([path], inside.shape, width)
    rim = lines([path + width], inside.shape, width) * np.float32(rng.choice((0.0, 0.6)))
    sign = shift_direction(image, inside, rng)
    source, weight = shifted(image, sign * STRONGEST_CHANGE), np.maximum(core, rim) * inside
    cv2.copyTo(shifted(image, -sign * STRONGEST_CHANGE), (core < rim).view(np.uint8), source)
    return Proposal(source, weight)


def pits(image: Image, inside: Mask, rng: np.random.Generator) -> Proposal:
    """One to twelve small round spots near each other, dark or light."""
    offsets = rng.normal(0, np.sqrt(np.count_nonzero(inside)) * rng.uniform(0.02, 0.15), (int(rng.integers(1, 13)), 2))
    # The first pit is always on the product.
    offsets[0] = 0
    centres = np.array(masks.random_point(inside, rng)) + offsets
    radii = rng.uniform(1.5, 5, len(centres)) * pixel_scale(image.shape)
    return Proposal(brightness_shifted(image, inside, rng), dots(centres[:, ::-1], radii, inside.shape) * inside)


def _curve(inside: Mask, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """A random walk with slowly changing direction from a point of the product: [K, 2] as (x, y) in pixels."""
    start = masks.random_point(inside, rng)[::-1]
    length = float(np.sqrt(np.count_nonzero(inside))) * masks.log_uniform(0.12, 0.7, rng)
    return walk(start, rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.12, 12)), length)


_KINDS: tuple[Callable[[Image, Mask, np.random.Generator], Proposal], ...] = (blur, exposure, stain, scratch, pits)
