"""AnoSeg's training images at its input size."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from automl_ad.backbones.extractor import BATCH
from automl_ad.methods.anoseg.networks import shrink
from automl_ad.methods.fit_memory import HOST, Placement, take_rows
from automl_ad.methods.pairs import Pairs


@dataclass(frozen=True)
class Samples:
    """Training images.

    Attributes:
        clean: uint8 [N, 3, size, size], normal images.
        anomalous: uint8 [N, 3, size, size], the same images with anomalies.
        masks: bool [N, 1, size, size], True at the anomaly.
        device: Where batches go.
    """

    clean: Tensor
    anomalous: Tensor
    masks: Tensor
    device: torch.device = HOST

    @classmethod
    def of(cls, pairs: Pairs, size: int, placement: Placement) -> Samples:
        """Resizes pairs; a pixel is anomalous if at least half of its area is."""
        clean, anomalous = (_shrunk(torch.from_numpy(half.pixels), size) for half in (pairs.clean, pairs.anomalous))
        masks = _shrunk(pairs.masks[:, None] * torch.tensor(255, dtype=torch.uint8), size) >= 128
        clean, anomalous, masks = (part.to(placement.store) for part in (clean, anomalous, masks))
        return cls(clean, anomalous, masks, placement.device)

    def draw(self, count: int, normal_share: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """A batch.

        Args:
            count: Batch size.
            normal_share: Probability that an image is a normal one.
            generator: A CPU generator.

        Returns:
            Images, float32 [count, 3, size, size] in 0 to 1, and their masks, float32 [count, 1, size, size]: 1 where
            normal and 0 where anomalous, as published.
        """
        rows = torch.randint(len(self.masks), (count,), generator=generator)
        good = (torch.rand(count, generator=generator) < normal_share).to(self.device)[:, None, None, None]
        clean, anomalous, masks = (
            take_rows(part, rows, self.device) for part in (self.clean, self.anomalous, self.masks)
        )
        return torch.where(good, clean, anomalous).float() / 255, (good | ~masks).float()


def _shrunk(pixels: Tensor, size: int) -> Tensor:
    return torch.cat([shrink(part.float(), size).round().byte() for part in torch.split(pixels, BATCH)])
