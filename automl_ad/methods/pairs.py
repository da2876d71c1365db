"""Pairs of good images and the same with an anomaly drawn on them: what methods learn from that need both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from automl_ad.data.image_set import ImageSet
from automl_ad.synthesis.sources import AnomalySource, rounds

Vary = Callable[[npt.NDArray[np.uint8], np.random.Generator], npt.NDArray[np.uint8]]
"""Makes another good image, uint8 [H, W, 3], of a good image."""


@dataclass(frozen=True)
class Pairs:
    """Training pairs, drawn once so that frozen features of them are computed once.

    Attributes:
        clean: Good images.
        anomalous: The same images with anomalies.
        masks: bool [N, H, W], where.
        notes: What was worked out of them and does not depend on a candidate's settings, by a name of its own.
    """

    clean: ImageSet
    anomalous: ImageSet
    masks: Tensor
    notes: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.clean)


class PairSource:
    """Draws training pairs; one that is asked again for the same pairs has them at hand.

    The pairs depend on nothing else of a candidate, so that candidates which differ in what they make of them share the
    drawing and, through the feature cache, the features.

    Args:
        source: Draws anomalies.
        seed: Of the pairs.
    """

    def __init__(self, source: AnomalySource, seed: int) -> None:
        self._source = source
        self._seed = seed
        self._last: tuple[tuple[str, int, str], Pairs] | None = None

    def pairs(self, normals: ImageSet, count: int, variation: str = "", vary: Vary | None = None) -> Pairs:
        """Draws ``count`` pairs as ``draw_pairs`` does; ``variation`` names ``vary``."""
        key = (normals.key, count, variation)
        if self._last is None or self._last[0] != key:  # the last alone: hundreds of images fill a memory
            self._last = None
            self._last = key, draw_pairs(normals, self._source, count, np.random.default_rng(self._seed), vary)
        return self._last[1]


def draw_pairs(
    normals: ImageSet, source: AnomalySource, count: int, rng: np.random.Generator, vary: Vary | None = None
) -> Pairs:
    """Draws ``count`` pairs; no image serves twice before all served once.

    Args:
        normals: Good images.
        source: Draws anomalies on them.
        count: Pairs.
        rng: Source of all randomness.
        vary: Changes each good image before an anomaly is drawn on it; None leaves them as they are.
    """
    order = np.concatenate(list(rounds(len(normals), count, rng)))
    bases = [np.ascontiguousarray(normals.pixels[row].transpose(1, 2, 0)) for row in order]
    good = bases if vary is None else [vary(base, rng) for base in bases]
    drawn = [source.draw(image, rng) for image in good]
    clean = normals.take(order) if vary is None else ImageSet.of_pictures(good)
    anomalous = ImageSet.of_pictures([image for image, _ in drawn])
    return Pairs(clean, anomalous, torch.from_numpy(np.stack([mask for _, mask in drawn])))
