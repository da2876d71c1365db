"""Pairs of good images and the same with an anomaly drawn on them: what methods learn from that need both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from automl_ad.data.image_set import ImageSet
from automl_ad.synthesis.sources import AnomalySource, rounds


@dataclass(frozen=True)
class Pairs:
    """Training pairs, drawn once for a fit so that frozen features of them are computed once.

    Attributes:
        clean: Good images.
        anomalous: The same images with anomalies.
        masks: bool [N, H, W], where.
    """

    clean: ImageSet
    anomalous: ImageSet
    masks: Tensor

    def __len__(self) -> int:
        return len(self.clean)


def draw_pairs(normals: ImageSet, source: AnomalySource, count: int, rng: np.random.Generator) -> Pairs:
    """Draws ``count`` pairs; no image serves twice before all served once.

    Args:
        normals: Good images.
        source: Draws anomalies on them.
        count: Pairs.
        rng: Source of all randomness.
    """
    order = np.concatenate(list(rounds(len(normals), count, rng)))
    drawn = [source.draw(np.ascontiguousarray(normals.pixels[row].transpose(1, 2, 0)), rng) for row in order]
    anomalous = ImageSet.of_pictures([image for image, _ in drawn])
    return Pairs(normals.take(order), anomalous, torch.from_numpy(np.stack([mask for _, mask in drawn])))
