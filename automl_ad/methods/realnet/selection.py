"""RealNet's selections: of feature channels before training (AFS), of residual channels for every image (RRS)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Mode = Literal["max", "mean", "both"]

_SMOOTH = 1e-4
"""Avoids division by zero for constant channels; as in the published code."""


class ChannelRanking:
    """Anomaly-aware features selection (AFS): ranks the channels of one level by how well they indicate anomalies.

    The loss of a channel is the mean squared difference between the anomaly's mask and the squared change of the
    channel, scaled to 0..1 over each batch (section 3.2, equation 3). The ranking does not depend on the number of
    channels selected, so it is computed once and truncated for every trial.
    """

    def __init__(self) -> None:
        self._losses: Tensor | None = None
        self._batches = 0

    def add(self, clean: Tensor, anomalous: Tensor, masks: Tensor) -> None:
        """Accumulates the losses of a batch.

        Args:
            clean: float32 [B, C, h, w], features of normal images.
            anomalous: float32 [B, C, h, w], features of the same images with anomalies drawn on them.
            masks: bool [B, H, W], True at the anomaly.
        """
        change = (anomalous.float() - clean.float()) ** 2
        low, high = change.amin((0, 2, 3), keepdim=True), change.amax((0, 2, 3), keepdim=True)
        scaled = (change - low) / (high - low + _SMOOTH)
        target = functional.interpolate(masks[:, None].float(), size=change.shape[-2:], mode="nearest")
        losses = ((scaled - target) ** 2).mean((0, 2, 3)).cpu()
        self._losses = losses if self._losses is None else self._losses + losses
        self._batches += 1

    @property
    def losses(self) -> Tensor:
        """Mean loss of each channel, float32 [C]; channels without a finite loss get the worst one.

        Raises:
            ValueError: No batch was added.
        """
        if self._losses is None:
            raise ValueError("channels are ranked by at least one batch of pairs")
        losses = self._losses / self._batches
        finite = losses[torch.isfinite(losses)]
        worst = float(finite.max()) if len(finite) else 0.0
        return torch.nan_to_num(losses, nan=worst, posinf=worst)

    def order(self) -> Tensor:
        """Channels from the best to the worst, int64 [C]; the sort is stable."""
        return torch.argsort(self.losses, stable=True)


class ResidualSelection(nn.Module):
    """Reconstruction residuals selection (RRS): for each image, the channels with the largest residuals (section 3.3).

    Channels are ranked by their normalised residuals, so that scale does not matter; the raw residuals are returned.
    ``max`` favours small anomalies, ``mean`` large ones; ``both`` selects half of the channels by each, and a channel
    may be selected twice.

    Args:
        channels: Residual channels, all levels together.
        kept: r, number of channels selected; even for ``both``.
        mode: Statistic by which channels are ranked.
    """

    def __init__(self, channels: int, kept: int, mode: Mode) -> None:
        super().__init__()
        if not 1 <= kept <= channels or (mode == "both" and kept % 2):
            raise ValueError(f"of {channels} residual channels {kept} cannot be kept by mode {mode!r}")
        # No affine parameters, as no gradients flow through the ranking.
        self.norm = nn.BatchNorm2d(channels, affine=False, momentum=0.9)
        self._kept = kept
        self._mode: Mode = mode

    def forward(self, residuals: Tensor) -> Tensor:
        """Residuals float32 [B, C, h, w] to the selected ones, float32 [B, kept, h, w], each ranking's best first."""
        chosen = self.ranked(residuals)[:, :, None, None].expand(-1, -1, *residuals.shape[-2:])
        return torch.gather(residuals, 1, chosen)

    @torch.no_grad()
    def ranked(self, residuals: Tensor) -> Tensor:
        """The selected channels of every image, int64 [B, kept]."""
        normed: Tensor = self.norm(residuals)
        by_max, by_mean = normed.amax((2, 3)), normed.mean((2, 3))
        if self._mode == "both":
            half = self._kept // 2
            return torch.cat([by_max.topk(half).indices, by_mean.topk(half).indices], 1)
        return (by_max if self._mode == "max" else by_mean).topk(self._kept).indices
