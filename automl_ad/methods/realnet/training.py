"""RealNet's joint training on frozen features of pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from automl_ad.methods.realnet.head import RealNetHead


@dataclass(frozen=True)
class Batch:
    """Kept features of a batch.

    Attributes:
        seen: What the head looks at, by level, float32 [B, m_k, h_k, w_k].
        ideal: The same of the good images.
        masks: bool [B, H, W], where what it looks at is anomalous.
    """

    seen: Sequence[Tensor]
    ideal: Sequence[Tensor]
    masks: Tensor


@dataclass(frozen=True)
class FeaturePairs:
    """Kept features of training pairs.

    Attributes:
        clean: By level, float16 or float32 [N, m_k, h_k, w_k].
        anomalous: Likewise.
        masks: bool [N, H, W].
    """

    clean: Sequence[Tensor]
    anomalous: Sequence[Tensor]
    masks: Tensor

    def draw(self, count: int, normal_share: float, generator: torch.Generator) -> Batch:
        """A batch of pairs.

        Args:
            count: Pairs of the batch.
            normal_share: Probability that the good image takes the place of the anomalous one.
            generator: On the CPU.
        """
        rows = torch.randint(len(self.masks), (count,), generator=generator)
        normal = torch.rand(count, generator=generator) < normal_share
        places = rows.to(self.masks.device)
        stays = normal.to(self.masks.device)[:, None, None, None]
        ideal = [level[places].float() for level in self.clean]
        changed = [level[places].float() for level in self.anomalous]
        seen = [torch.where(stays, good, bad) for good, bad in zip(ideal, changed, strict=True)]
        return Batch(seen, ideal, self.masks[places] & ~stays[:, 0])


def joint_loss(head: RealNetHead, batch: Batch) -> Tensor:
    """Reconstruction and segmentation, weights 1 and 1 (section 3.4).

    Args:
        head: The trained part.
        batch: What it looks at.

    Returns:
        Sum over levels of the mean squared error, plus the mean cross entropy of the pixels; float32 scalar.
    """
    rebuilt = [level.float() for level in head.rebuilt(batch.seen)]
    errors = [functional.mse_loss(level, good) for level, good in zip(rebuilt, batch.ideal, strict=True)]
    logits = head.logits(batch.seen, rebuilt).float()
    full = functional.interpolate(logits, size=batch.masks.shape[-2:], mode="bilinear", align_corners=True)
    return torch.stack(errors).sum() + functional.cross_entropy(full, batch.masks.long())
