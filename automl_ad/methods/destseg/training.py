"""Training data and losses of DeSTSeg's two phases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from automl_ad.methods.destseg.head import unit_vectors
from automl_ad.methods.fit_memory import HOST, take_rows


@dataclass(frozen=True)
class StudentData:
    """Data of the first phase.

    Attributes:
        images: uint8 [N, 3, H, W], with anomalies.
        targets: The teacher's normalised features of the normal images, by level, float16 [N, C_k, h_k, w_k].
        device: Where batches go.
    """

    images: Tensor
    targets: Sequence[Tensor]
    device: torch.device = HOST

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """(rows, columns) of each level."""
        return [(level.shape[2], level.shape[3]) for level in self.targets]

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, list[Tensor]]:
        """A batch of images, float32 in 0 to 1, and their targets, float32; ``generator`` is on the CPU."""
        rows = torch.randint(len(self.images), (count,), generator=generator)
        images = take_rows(self.images, rows, self.device).float() / 255
        return images, [take_rows(level, rows, self.device).float() for level in self.targets]


@dataclass(frozen=True)
class SegmentationData:
    """Data of the second phase.

    Teacher and student are frozen, so the inputs of the segmentation network are computed once.

    Attributes:
        products: float16 [N, C, h, w], see ``DeStSegHead.products``.
        masks: float32 [N, h, w], 1 where the image is anomalous.
        device: Where batches go.
    """

    products: Tensor
    masks: Tensor
    device: torch.device = HOST

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Products and masks, float32; ``generator`` is on the CPU."""
        rows = torch.randint(len(self.masks), (count,), generator=generator)
        return take_rows(self.products, rows, self.device).float(), take_rows(self.masks, rows, self.device)


def on_grid(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Resizes bool [N, H, W] masks: bilinear, then thresholded at 0.5; float32 [N, *size], 0 or 1."""
    small = functional.interpolate(masks[:, None].float(), size=size, mode="bilinear", align_corners=False)
    return (small[:, 0] >= 0.5).float()


def distillation_loss(student: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
    """Cosine distance between the student's features and the targets (section 3.2).

    Summed over the images, as in the authors' code, not averaged as in the paper: the learning rate of 0.4 belongs to
    the sum over a batch of 32.

    Args:
        student: By level, [B, C_k, h_k, w_k].
        targets: Likewise, L2-normalised.

    Returns:
        Mean over positions of one minus the cosine, summed over levels and images; float32 scalar.
    """
    pairs = zip((level.float() for level in student), targets, strict=True)
    return torch.stack([(1 - (unit_vectors(level) * good).sum(1)).mean((1, 2)).sum() for level, good in pairs]).sum()


def segmentation_loss(logits: Tensor, masks: Tensor, gamma: float) -> Tensor:
    """Focal loss without class weights plus absolute error, weights 1 and 1 (section 3.3).

    Args:
        logits: [B, h, w].
        masks: float32 [B, h, w], 0 or 1.
        gamma: Exponent of the focal loss; larger values reduce the weight of well-classified pixels.

    Returns:
        Sum of the two means over all pixels; float32 scalar.
    """
    logits = logits.float()
    entropy = functional.binary_cross_entropy_with_logits(logits, masks, reduction="none")
    focal = (1 - torch.exp(-entropy)) ** gamma * entropy
    return focal.mean() + functional.l1_loss(torch.sigmoid(logits), masks)
