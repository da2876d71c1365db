"""Sources of training anomalies, which unlike those of the proxy suite have no severity."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from automl_ad.synthesis.base import Context
from automl_ad.synthesis.blending import blend
from automl_ad.synthesis.perlin import perlin_mask
from automl_ad.synthesis.texture import TextureFamily

Image = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


class AnomalySource(Protocol):
    """Draws synthetic anomalies for training."""

    def draw(self, image: Image, rng: np.random.Generator) -> tuple[Image, Mask]:
        """Makes an anomalous copy of a uint8 [H, W, 3] image and its bool [H, W] mask."""
        ...


def rounds(bases: int, wanted: int, rng: np.random.Generator) -> Iterator[npt.NDArray[np.int64]]:
    """Random permutations of the bases, ``wanted`` indices in total: none is reused before all have been used."""
    for had in range(0, wanted, bases):
        yield rng.permutation(bases)[: wanted - had]


@dataclass(frozen=True)
class Recipe:
    """Which synthetic anomalies a method trains on; its ``repr`` is part of a seed and must not change.

    Attributes:
        families: Some of ``texture``, ``cutpaste`` and ``sdas``.
        opacity: Lowest and highest opacity.
        strength: Lowest and highest strength of ``sdas``.
    """

    families: tuple[str, ...]
    opacity: tuple[float, float]
    strength: tuple[float, float] = (0.5, 1.0)


class TextureSource:
    """Perlin-shaped regions of foreign textures at a random opacity (DRAEM, ICCV 2021, section 3.3).

    Args:
        context: Provides textures and foreground.
        opacity: Lowest and highest opacity.
    """

    def __init__(self, context: Context, opacity: tuple[float, float]) -> None:
        self._family = TextureFamily(context)
        self._foreground = context.foreground
        self._opacity = opacity

    def draw(self, image: Image, rng: np.random.Generator) -> tuple[Image, Mask]:
        """See ``AnomalySource.draw``."""
        mask = perlin_mask((image.shape[0], image.shape[1]), rng, foreground=self._foreground.mask_of(image))
        return blend(image, self._family.texture(image, rng), mask, float(rng.uniform(*self._opacity))), mask


class MixedSource:
    """Uses one of several sources at every draw, with equal probabilities."""

    def __init__(self, sources: Sequence[AnomalySource]) -> None:
        self._sources = sources

    def draw(self, image: Image, rng: np.random.Generator) -> tuple[Image, Mask]:
        """See ``AnomalySource.draw``."""
        return self._sources[int(rng.integers(len(self._sources)))].draw(image, rng)
