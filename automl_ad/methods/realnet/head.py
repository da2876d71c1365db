"""RealNet's trained part: maps the levels of a frozen backbone to an anomaly map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from automl_ad.methods.realnet.reconstruction import FeatureUNet, LightReconstruction
from automl_ad.methods.realnet.selection import Mode, ResidualSelection

Network = Literal["light", "unet"]


class PlainBlock(nn.Module):
    """ReLU, 3 x 3 convolution, ReLU, 1 x 1 convolution, with a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 1, bias=False),
        )

    def forward(self, features: Tensor) -> Tensor:
        """float32 [B, C, h, w] to the same shape."""
        result: Tensor = features + self.body(features)
        return result


class Discriminator(nn.Module):
    """Classifies pixels from the selected residuals.

    Args:
        channels: Selected residual channels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.coarse = nn.Sequential(
            PlainBlock(channels),
            PlainBlock(channels),
            nn.ReLU(),
            nn.Conv2d(channels, 128, 3, padding=1),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.Conv2d(128, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 8, 3, padding=1),
            nn.ReLU(),
        )
        self.fine = nn.Sequential(nn.Conv2d(8, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 3, padding=1))

    def forward(self, residuals: Tensor) -> Tensor:
        """float32 [B, C, h, w] to the logits of normal and anomalous, float32 [B, 2, 2h, 2w]."""
        coarse = functional.interpolate(self.coarse(residuals), scale_factor=2.0, mode="bilinear", align_corners=True)
        logits: Tensor = self.fine(coarse)
        return logits


class RealNetHead(nn.Module):
    """Selects features, reconstructs them, selects residuals and classifies pixels from these.

    Args:
        selected: By level, the selected channels, int64 [m_k]; the finest level first.
        kept: Number of residual channels that enter the discriminator.
        mode: Statistic by which these are ranked.
        network: Reconstruction network of a level.

    Buffers:
        selected_0, selected_1, ...: int64 [m_k].
        plan: int64 [3], ``kept`` and the positions of ``mode`` and ``network``, to rebuild the head from a state.
    """

    MODES: tuple[Mode, ...] = ("max", "mean", "both")
    NETWORKS: tuple[Network, ...] = ("light", "unet")
    plan: Tensor

    def __init__(self, selected: Sequence[Tensor], kept: int, mode: Mode, network: Network) -> None:
        super().__init__()
        for place, channels in enumerate(selected):
            self.register_buffer(f"selected_{place}", channels)
        self._levels = len(selected)
        self.register_buffer("plan", torch.tensor([kept, self.MODES.index(mode), self.NETWORKS.index(network)]))
        self.rebuild = nn.ModuleList(_reconstruction(len(channels), network) for channels in selected)
        self.select = ResidualSelection(sum(len(channels) for channels in selected), kept, mode)
        self.judge = Discriminator(kept)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Feature levels to float32 [B, h, w]: log odds of anomalous, at twice the resolution of the finest level."""
        features = self.features(maps)
        logits = self.logits(features, self.rebuilt(features))
        return logits[:, 1] - logits[:, 0]

    def features(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """The selected channels of each level, float32 [B, m_k, h_k, w_k]."""
        return [level[:, self.get_buffer(f"selected_{place}")] for place, level in enumerate(maps)]

    def rebuilt(self, features: Sequence[Tensor]) -> list[Tensor]:
        """The reconstructed features of each level."""
        return [_call_padded(network, level, 4) for network, level in zip(self.rebuild, features, strict=True)]

    def logits(self, features: Sequence[Tensor], rebuilt: Sequence[Tensor]) -> Tensor:
        """Logits of normal and anomalous from the squared residuals, float32 [B, 2, 2h, 2w]."""
        finest = features[0].shape[-2:]
        residuals = [(level - targets) ** 2 for level, targets in zip(features, rebuilt, strict=True)]
        fine = [functional.interpolate(level, size=finest, mode="bilinear", align_corners=True) for level in residuals]
        logits: Tensor = self.judge(self.select(torch.cat(fine, 1)))
        return logits


def _call_padded(network: nn.Module, features: Tensor, multiple: int) -> Tensor:
    """Runs a network whose input sides must be multiples, replicating the last row and column as padding."""
    height, width = features.shape[-2:]
    down, right = -height % multiple, -width % multiple
    padded = functional.pad(features, (0, right, 0, down), mode="replicate") if down or right else features
    result: Tensor = network(padded)
    return result[..., :height, :width]


def _reconstruction(channels: int, network: Network) -> nn.Module:
    return FeatureUNet(channels) if network == "unet" else LightReconstruction(channels, max(32, channels // 2))
