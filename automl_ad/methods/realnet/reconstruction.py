"""Networks that reconstruct the selected features of normal images, one per level."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Resample = Literal["down", "up"]

HEAD_CHANNELS = 64
_GROUPS = 32


def groups_for(channels: int) -> int:
    """The largest number of groups up to 32 with at least two channels each.

    A group of one channel would lose its mean, and with it the brightness of the level.
    """
    groups = math.gcd(_GROUPS, channels)
    return groups if channels >= 2 * groups else max(1, groups // 2)


class ResidualBlock(nn.Module):
    """Group norm, SiLU and one 3 x 3 convolution beside a shortcut; both may halve or double the resolution.

    Args:
        inputs: Input channels.
        outputs: Output channels.
        resample: ``down`` halves by average pooling, ``up`` doubles by a transposed convolution on either path.
    """

    def __init__(self, inputs: int, outputs: int, resample: Resample | None = None) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.GroupNorm(groups_for(inputs), inputs),
            nn.SiLU(),
            _resampling(inputs, resample),
            nn.Conv2d(inputs, outputs, 3, padding=1),
        )
        project = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)
        self.shortcut = nn.Sequential(_resampling(inputs, resample), project)

    def forward(self, features: Tensor) -> Tensor:
        """float32 [B, inputs, h, w] to [B, outputs, h, w], or half or twice the resolution."""
        result: Tensor = self.body(features) + self.shortcut(features)
        return result


def _resampling(channels: int, resample: Resample | None) -> nn.Module:
    if resample is None:
        return nn.Identity()
    return nn.AvgPool2d(2) if resample == "down" else nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1)


class SelfAttention(nn.Module):
    """Multi-head self-attention over all positions, with group norm and a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self._heads = channels // HEAD_CHANNELS if channels % HEAD_CHANNELS == 0 else 1
        self.norm = nn.GroupNorm(groups_for(channels), channels)
        self.inward = nn.Conv2d(channels, 3 * channels, 1)
        self.outward = nn.Conv2d(channels, channels, 1)
        _zero_init(self.outward)

    def forward(self, features: Tensor) -> Tensor:
        """float32 [B, C, h, w] to the same shape."""
        batch, channels, height, width = features.shape
        parts = self.inward(self.norm(features)).reshape(batch, 3, self._heads, -1, height * width)
        query, key, value = parts.transpose(-1, -2).unbind(1)
        mixed = functional.scaled_dot_product_attention(query, key, value).transpose(-1, -2)
        result: Tensor = features + self.outward(mixed.reshape(batch, channels, height, width))
        return result


class FeatureUNet(nn.Module):
    """The published reconstruction network: a U-Net of residual blocks with attention below full resolution.

    Half of the level's channels at the first stage, then times 1, 2 and 4; two blocks a stage on the way down and three
    on the way up, resampling by residual blocks, and a zero-initialised output.

    Args:
        channels: Channels of the level, even.
        factors: Width of each stage as a multiple of the first.
    """

    def __init__(self, channels: int, factors: tuple[int, ...] = (1, 2, 4)) -> None:
        super().__init__()
        widths = [max(1, channels // 2) * factor for factor in factors]
        self.start = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.down = nn.ModuleList()
        skips, width = [widths[0]], widths[0]
        for stage, wide in enumerate(widths):
            for _ in range(2):
                self.down.append(_stage_block(width, wide, attends=stage > 0))
                width = wide
                skips.append(width)
            if stage < len(widths) - 1:
                self.down.append(ResidualBlock(width, width, "down"))
                skips.append(width)
        self.middle = nn.Sequential(ResidualBlock(width, width), SelfAttention(width), ResidualBlock(width, width))
        self.up = nn.ModuleList()
        for stage, wide in reversed(list(enumerate(widths))):
            for _ in range(3):
                self.up.append(_stage_block(width + skips.pop(), wide, attends=stage > 0))
                width = wide
            if stage > 0:
                self.up.append(ResidualBlock(width, width, "up"))
        last = nn.Conv2d(width, channels, 3, padding=1)
        _zero_init(last)
        self.end = nn.Sequential(nn.GroupNorm(groups_for(width), width), nn.SiLU(), last)

    def forward(self, features: Tensor) -> Tensor:
        """float32 [B, C, h, w], h and w divisible by 2 for every stage but one, to the same shape."""
        features = self.start(features)
        kept = [features]
        for block in self.down:
            features = block(features)
            kept.append(features)
        features = self.middle(features)
        for step, block in enumerate(self.up, 1):
            # Every fourth block doubles the resolution; the others concatenate a skip connection.
            features = block(features) if step % 4 == 0 else block(torch.cat([features, kept.pop()], 1))
        result: Tensor = self.end(features)
        return result


def _zero_init(layer: nn.Conv2d) -> None:
    """Zero-initialises a layer."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


def _stage_block(inputs: int, outputs: int, attends: bool) -> nn.Module:
    block = ResidualBlock(inputs, outputs)
    return nn.Sequential(block, SelfAttention(outputs)) if attends else block


class LightReconstruction(nn.Module):
    """A reconstruction network for small machines: one halving, a few blocks at low resolution, no skip connection.

    Without skip connections it cannot copy an anomaly through.

    Args:
        channels: Channels of the level.
        width: Hidden channels.
        depth: Residual blocks at low resolution.
    """

    def __init__(self, channels: int, width: int, depth: int = 2) -> None:
        super().__init__()
        blocks = [ResidualBlock(width, width) for _ in range(depth)]
        last = nn.Conv2d(width, channels, 3, padding=1)
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride=2, padding=1),
            *blocks,
            nn.GroupNorm(groups_for(width), width),
            nn.SiLU(),
            nn.ConvTranspose2d(width, width, 4, stride=2, padding=1),
            nn.SiLU(),
            last,
        )

    def forward(self, features: Tensor) -> Tensor:
        """float32 [B, C, h, w], h and w even, to the same shape."""
        result: Tensor = self.body(features)
        return result
