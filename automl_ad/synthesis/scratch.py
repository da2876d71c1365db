"""The family ``scratch``: hairlines along and across the grain, and branching cracks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from automl_ad.synthesis import masks
from automl_ad.synthesis.base import BlendedFamily, Proposal, pixel_scale
from automl_ad.synthesis.colour import brightness_shifted
from automl_ad.synthesis.strokes import grain_angle, lines, walk

Image = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Points = npt.NDArray[np.float64]

LENGTH = (0.08, 0.6)
"""Length of a line relative to the square root of the product's area."""
WIDTH = (0.7, 2.0)
"""Line width in pixels of a 256-pixel image."""
CRACK_SHARE = 0.5
ALONG_SHARE = 0.5
"""Share of hairlines along the grain, where they are hardest to see; the others have random directions."""
MOST_HAIRLINES, MOST_BRANCHES = 4, 3
_SPACING = 0.04
"""Standard deviation of the distance between parallel hairlines, in the unit of ``LENGTH``."""
_STEPS = 12
_STRAIGHT, _JAGGED = 0.01, 0.45
"""Standard deviation of a step's direction, in radians."""


class ScratchFamily(BlendedFamily):
    """Thin lines: one to four parallel hairlines, or one crack with up to three branches."""

    name = "scratch"

    def propose(self, image: Image, inside: Mask, severity: float, rng: np.random.Generator) -> Proposal | None:
        """See `BlendedFamily.propose`."""
        paths = crack(inside, rng) if rng.random() < CRACK_SHARE else hairlines(image, inside, rng)
        width = max(1, round(float(rng.uniform(*WIDTH)) * pixel_scale(image.shape)))
        weight = lines(paths, inside.shape, width) * inside
        return Proposal(brightness_shifted(image, inside, rng), weight) if weight.any() else None


def hairlines(image: Image, inside: Mask, rng: np.random.Generator) -> list[Points]:
    """One to four nearly straight, nearly parallel lines close together, each [K, 2] as (x, y) in pixels."""
    side = float(np.sqrt(np.count_nonzero(inside)))
    along = grain_angle(image, inside) + float(rng.normal(0, 0.05))
    angle = along if rng.random() < ALONG_SHARE else float(rng.uniform(0, np.pi))
    start, across = _start(inside, rng), np.array([-np.sin(angle), np.cos(angle)])
    offsets = side * _SPACING * rng.normal(size=rng.integers(1, MOST_HAIRLINES + 1))
    offsets[0] = 0  # the first one always starts on the product
    lengths = [side * masks.log_uniform(*LENGTH, rng) for _ in offsets]
    return [
        _line(start + offset * across, angle, length, _STRAIGHT, rng)
        for offset, length in zip(offsets, lengths, strict=True)
    ]


def crack(inside: Mask, rng: np.random.Generator) -> list[Points]:
    """A jagged line with up to three branches, each [K, 2] as (x, y) in pixels."""
    angle = float(rng.uniform(0, 2 * np.pi))
    length = float(np.sqrt(np.count_nonzero(inside))) * masks.log_uniform(*LENGTH, rng)
    trunk = _line(_start(inside, rng), angle, length, _JAGGED, rng)
    branches = []
    for _ in range(rng.integers(0, MOST_BRANCHES + 1)):
        turn, share = float(rng.choice((-1, 1)) * rng.uniform(0.4, 1.2)), float(rng.uniform(0.1, 0.4))
        branches.append(_line(trunk[rng.integers(1, len(trunk))], angle + turn, share * length, _JAGGED, rng))
    return [trunk, *branches]


def _start(inside: Mask, rng: np.random.Generator) -> Points:
    """A point of the product as (x, y)."""
    return np.array(masks.random_point(inside, rng)[::-1], np.float64)


def _line(start: Points, angle: float, length: float, jitter: float, rng: np.random.Generator) -> Points:
    return walk(start, angle + rng.normal(0, jitter, _STEPS), length)
