"""Tones of surface marks: brighter, darker, or another colour."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from automl_ad.synthesis.colour import LEVELS, by_table, is_grey

Image = npt.NDArray[np.uint8]

STRONGEST_CHANGE = 140.0
"""Grey levels."""


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
    return 1.0 if rng.random() > float(image[inside].mean()) / 255 else -1.0


def shifted(image: Image, shift: float) -> Image:
    """The image with all levels shifted by ``shift`` grey levels and clipped."""
    return by_table(image, LEVELS + np.float32(shift))


def random_tint(image: Image, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """A random colour, or a random grey for a grey product: float64 [3] in 0 to 255."""
    return np.full(3, rng.uniform(0, 255)) if is_grey(image) else rng.uniform(0, 255, 3)
