"""Pairs of normal images and anomalous versions of them, for methods that train on both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from automl_ad.data.image_set import ImageSet
from automl_ad.synthesis.sources import AnomalySource, rounds

Augment = Callable[[npt.NDArray[np.uint8], np.random.Generator], npt.NDArray[np.uint8]]
"""Augments a normal image, uint8 [H, W, 3]."""


@dataclass(frozen=True)
class Pairs:
    """Training pairs, drawn once so that their frozen features are computed once.

    Attributes:
        clean: Normal images.
        anomalous: The same images with anomalies.
        masks: bool [N, H, W], True at the anomaly.
        derived: Named tensors computed from the pairs that do not depend on a candidate's settings.
    """

    clean: ImageSet
    anomalous: ImageSet
    masks: Tensor
    derived: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.clean)


def pairs_bytes(count: int, size: tuple[int, int]) -> float:
    """Bytes of ``count`` pairs of images of ``size`` (height, width), with as much again while they are drawn."""
    return 2.0 * count * 7 * size[0] * size[1]  # three colours of either image, and a mask


class PairSource:
    """Draws training pairs and caches the last ones.

    The pairs depend on no other setting of a candidate, so candidates that differ in those share the pairs and,
    through the feature cache, their features.

    Args:
        source: Draws anomalies.
        seed: Seed of the pairs.
    """

    def __init__(self, source: AnomalySource, seed: int) -> None:
        self._source = source
        self._seed = seed
        self._last: tuple[tuple[str, int, str], Pairs] | None = None

    def pairs(self, normals: ImageSet, count: int, augmentation: str = "", augment: Augment | None = None) -> Pairs:
        """Draws ``count`` pairs as ``draw_pairs`` does; ``augmentation`` is the cache key of ``augment``."""
        key = (normals.key, count, augmentation)
        if self._last is None or self._last[0] != key:  # only the last: hundreds of images take much memory
            self._last = None
            self._last = key, draw_pairs(normals, self._source, count, np.random.default_rng(self._seed), augment)
        return self._last[1]


def draw_pairs(
    normals: ImageSet, source: AnomalySource, count: int, rng: np.random.Generator, augment: Augment | None = None
) -> Pairs:
    """Draws ``count`` pairs; no image is reused before all have been used.

    Args:
        normals: Normal images.
        source: Draws anomalies on them.
        count: Number of pairs.
        rng: Source of all randomness.
        augment: Applied to each normal image before an anomaly is drawn on it; None for no augmentation.
    """
    order = np.concatenate(list(rounds(len(normals), count, rng)))
    bases = [np.ascontiguousarray(normals.pixels[row].transpose(1, 2, 0)) for row in order]
    good = bases if augment is None else [augment(base, rng) for base in bases]
    drawn = [source.draw(image, rng) for image in good]
    clean = normals.take(order) if augment is None else ImageSet.from_hwc(good)
    anomalous = ImageSet.from_hwc([image for image, _ in drawn])
    return Pairs(clean, anomalous, torch.from_numpy(np.stack([mask for _, mask in drawn])))
