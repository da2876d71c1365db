"""The family ``photometric``: blur, wrong exposure, stains, scratches and pits, drawn by formula."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from automl_ad.synthesis import masks
from automl_ad.synthesis.base import BlendedFamily, Proposal
from automl_ad.synthesis.colour import is_grey

Image = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Weight = npt.NDArray[np.float32]

STRONGEST_CHANGE = 140.0
SPOT_AREA = (0.004, 0.06)
REFERENCE_SIDE = 256
# Bits of sub-pixel precision in OpenCV's line drawing.
_SHIFT = 4


class PhotometricFamily(BlendedFamily):
    """Local changes of light and sharpness, and marks on the surface; one kind per image."""

    name = "photometric"

    def propose(self, image: Image, inside: Mask, severity: float, rng: np.random.Generator) -> Proposal | None:
        """See `BlendedFamily.propose`."""
        proposal = _KINDS[rng.integers(len(_KINDS))](image, inside, rng)
        return proposal if proposal.weight.any() else None


def blur(image: Image, inside: Mask, rng: np.random.Generator) -> Proposal:
    """A spot out of focus or worn smooth: Gaussian blur, sigma 1/64 to 1/20 of the shorter side."""
    sigma = min(image.shape[:2]) * float(rng.uniform(1 / 64, 1 / 20))
    weight = masks.random_blob(inside, rng, (0.01, 0.12), 0.4)
    return Proposal(np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8), weight)


def exposure(image: Image, inside: Mask, rng: np.random.Generator) -> Proposal:
    """A spot too bright or too dark, all channels alike."""
    shift = STRONGEST_CHANGE * _direction(image, inside, rng)
    return Proposal(_shifted(image, shift), masks.random_blob(inside, rng, (0.008, 0.1), 0.6))


def stain(image: Image, inside: Mask, rng: np.random.Generator) -> Proposal:
    """A drop or smear with a tint of its own, under which the surface half shows."""
    tint = np.full(3, rng.uniform(0, 255)) if is_grey(image) else rng.uniform(0, 255, 3)
    tinted = np.rint(0.3 * image + 0.7 * tint).astype(np.uint8)
    return Proposal(tinted, masks.random_blob(inside, rng, SPOT_AREA, float(rng.uniform(0.1, 0.5))))


def scratch(image: Image, inside: Mask, rng: np.random.Generator) -> Proposal:
    """A curved line with a core of one tone and, often, a fainter opposite rim, as a groove under slanting light."""
    path = _curve(inside, rng)
    width = max(1, round(float(rng.uniform(1.0, 3.0)) * _scale(image)))
    core = _line(path, inside.shape, width)
    rim = _line(path + width, inside.shape, width) * np.float32(rng.choice((0.0, 0.6)))
    sign = _direction(image, inside, rng)
    on_core = (core >= rim)[..., None]
    source = np.where(on_core, _shifted(image, sign * STRONGEST_CHANGE), _shifted(image, -sign * STRONGEST_CHANGE))
    return Proposal(source, np.maximum(core, rim) * inside)


def pits(image: Image, inside: Mask, rng: np.random.Generator) -> Proposal:
    """One to twelve small round spots near each other, dark or light."""
    offsets = rng.normal(0, np.sqrt(inside.sum()) * rng.uniform(0.02, 0.15), (int(rng.integers(1, 13)), 2))
    # The first pit stays on the product, wherever the others fall.
    offsets[0] = 0
    canvas = np.zeros(inside.shape, np.uint8)
    for centre in np.array(masks.random_point(inside, rng)) + offsets:
        _dot(canvas, centre, float(rng.uniform(1.5, 5)) * _scale(image))
    return Proposal(_shifted(image, STRONGEST_CHANGE * _direction(image, inside, rng)), _unit(canvas) * inside)


def _scale(image: Image) -> float:
    """How many pixels one pixel of a 256-pixel image is."""
    return float(min(image.shape[:2])) / REFERENCE_SIDE


def _direction(image: Image, inside: Mask, rng: np.random.Generator) -> float:
    """+1 for brighter or -1 for darker, the likelier the more room there is on that side of the grey scale."""
    return 1.0 if rng.random() > float(image[inside].mean()) / 255 else -1.0


def _shifted(image: Image, shift: float) -> Image:
    """The image with all levels moved by ``shift`` grey levels and clipped."""
    table = np.clip(np.rint(np.arange(256) + shift), 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(image, table), np.uint8)


def _unit(canvas: npt.NDArray[np.uint8]) -> Weight:
    """uint8 coverage as float32 in 0 to 1."""
    return np.asarray(canvas / np.float32(255), np.float32)


def _curve(inside: Mask, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """A walk with slowly turning direction from a point of the product: [K, 2] as (x, y) in pixels."""
    row, column = masks.random_point(inside, rng)
    length = float(np.sqrt(inside.sum())) * masks.log_uniform(0.12, 0.7, rng)
    steps = 12
    turns = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.12, steps))
    moves = np.stack([np.cos(turns), np.sin(turns)], axis=1) * (length / steps)
    walk = np.concatenate([np.zeros((1, 2)), np.cumsum(moves, axis=0)])
    return np.asarray(walk + np.array([column, row]), np.float64)


def _line(path: npt.NDArray[np.float64], shape: tuple[int, ...], width: int) -> Weight:
    """A smooth line through the points, float32 [H, W] in 0 to 1."""
    canvas = np.zeros(shape, np.uint8)
    points = np.rint(path * 2**_SHIFT).astype(np.int32)
    cv2.polylines(canvas, [points], False, 255, width, cv2.LINE_AA, _SHIFT)
    return _unit(canvas)


def _dot(canvas: npt.NDArray[np.uint8], centre: npt.NDArray[np.float64], radius: float) -> None:
    """Draws a filled circle around (row, column), both in pixels."""
    x, y = (round(float(value) * 2**_SHIFT) for value in centre[::-1])
    cv2.circle(canvas, (x, y), max(2**_SHIFT // 2, round(radius * 2**_SHIFT)), 255, -1, cv2.LINE_AA, _SHIFT)


_KINDS: tuple[Callable[[Image, Mask, np.random.Generator], Proposal], ...] = (blur, exposure, stain, scratch, pits)
