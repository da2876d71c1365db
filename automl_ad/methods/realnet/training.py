"""RealNet's joint training on frozen features of pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from automl_ad.methods.fit_memory import HOST, take_rows
from automl_ad.methods.realnet.head import RealNetHead


@dataclass(frozen=True)
class Batch:
    """Selected features of a batch.

    Attributes:
        inputs: By level, float32 [B, m_k, h_k, w_k], of normal or anomalous images.
        targets: The same of the normal images.
        masks: bool [B, H, W], True where the inputs are anomalous.
    """

    inputs: Sequence[Tensor]
    targets: Sequence[Tensor]
    masks: Tensor


@dataclass(frozen=True)
class FeaturePairs:
    """Selected features of training pairs.

    Attributes:
        clean: By level, float16 or float32 [N, m_k, h_k, w_k].
        anomalous: Likewise.
        masks: bool [N, H, W].
        device: Where batches go.
    """

    clean: Sequence[Tensor]
    anomalous: Sequence[Tensor]
    masks: Tensor
    device: torch.device = HOST

    def draw(self, count: int, normal_share: float, generator: torch.Generator) -> Batch:
        """A batch of pairs.

        Args:
            count: Batch size.
            normal_share: Probability that the normal image replaces the anomalous one.
            generator: A CPU generator.
        """
        rows = torch.randint(len(self.masks), (count,), generator=generator)
        normal = torch.rand(count, generator=generator) < normal_share
        is_normal = normal.to(self.device)[:, None, None, None]
        targets = [take_rows(level, rows, self.device).float() for level in self.clean]
        changed = [take_rows(level, rows, self.device).float() for level in self.anomalous]
        inputs = [torch.where(is_normal, good, bad) for good, bad in zip(targets, changed, strict=True)]
        return Batch(inputs, targets, take_rows(self.masks, rows, self.device) & ~is_normal[:, 0])


def joint_loss(head: RealNetHead, batch: Batch) -> Tensor:
    """Reconstruction and segmentation, weights 1 and 1 (section 3.4).

    Args:
        head: The trained part.
        batch: Selected features.

    Returns:
        Sum over levels of the mean squared error, plus the mean cross entropy of the pixels; float32 scalar.
    """
    rebuilt = [level.float() for level in head.rebuilt(batch.inputs)]
    errors = [functional.mse_loss(level, good) for level, good in zip(rebuilt, batch.targets, strict=True)]
    logits = head.logits(batch.inputs, rebuilt).float()
    full = functional.interpolate(logits, size=batch.masks.shape[-2:], mode="bilinear", align_corners=True)
    return torch.stack(errors).sum() + functional.cross_entropy(full, batch.masks.long())
