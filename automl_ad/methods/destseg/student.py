"""DeSTSeg's student: predicts the teacher's features of the normal image from an anomalous one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from automl_ad.backbones.base import normalise
from automl_ad.methods.resnet import residual_blocks, resnet18

STRIDES = (32, 16, 8, 4)
"""Stride of each decoder stage in image pixels, in execution order."""


class Student(nn.Module):
    """A ResNet-18 and a decoder of residual blocks, both from scratch (section 3.2).

    There are no skip connections, so that an anomaly is not simply passed on. With a width of 64 and a ResNet-18 or
    34 as the teacher, the decoder's stages have the teacher's channels and are the outputs.

    Args:
        channels: Channels of each of the teacher's levels.
        strides: Stride of each in image pixels.
        width: Channels of the finest stage; each coarser one has twice as many.
        blocks: Residual blocks a stage of the decoder.
    """

    def __init__(self, channels: Sequence[int], strides: Sequence[int], width: int = 64, blocks: int = 2) -> None:
        super().__init__()
        self._places = [_nearest_stage(stride) for stride in strides]
        widths = [width * stride // STRIDES[-1] for stride in STRIDES[: max(self._places) + 1]]
        self.encoder = resnet18(3, width)
        self.decoder = nn.ModuleList(residual_blocks(*ends, blocks) for ends in pairwise([widths[0], *widths]))
        self.outputs = nn.ModuleList(
            _output(widths[place], count, alone=self._places.count(place) == 1)
            for place, count in zip(self._places, channels, strict=True)
        )
        init_like_resnet(self)
        _zero_init_branches(self.encoder)

    def forward(self, images: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
        """Predicts the teacher's features of the images without anomalies.

        Args:
            images: float32 [B, 3, H, W] in 0 to 1.
            sizes: (rows, columns) of each of the teacher's levels.

        Returns:
            float32 [B, C_k, rows, columns] a level.
        """
        stages = self._stages(self.encoder(normalise(images)))
        taken = zip(self._places, self.outputs, sizes, strict=True)
        return [_resized(output(stages[place]), size) for place, output, size in taken]

    def _stages(self, features: Tensor) -> list[Tensor]:
        stages: list[Tensor] = []
        for stage in self.decoder:
            if stages:
                features = functional.interpolate(features, scale_factor=2.0, mode="bilinear", align_corners=False)
            features = stage(features)
            stages.append(features)
        return stages


def init_like_resnet(network: nn.Module) -> None:
    """Kaiming initialisation (fan-out) of all convolutions, as in ResNets (He et al., 2015)."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")


def _zero_init_branches(encoder: nn.Module) -> None:
    """Zero-initialises the residual branches, as timm's ResNets do; the published decoder does not."""
    for module in encoder.modules():
        zero_init = getattr(module, "zero_init_last", None)
        if zero_init is not None:
            zero_init()


def _nearest_stage(stride: int) -> int:
    """Index of the stage nearest in resolution; strides 14 and 16 share one."""
    distances = [abs(math.log(stride / own)) for own in STRIDES]
    return distances.index(min(distances))


def _output(inputs: int, outputs: int, alone: bool) -> nn.Module:
    """Identity if the channels match; levels that share a stage get projections, or their outputs would be equal."""
    return nn.Identity() if inputs == outputs and alone else nn.Conv2d(inputs, outputs, 1)


def _resized(level: Tensor, size: tuple[int, int]) -> Tensor:
    if level.shape[-2:] == size:
        return level
    return functional.interpolate(level, size=size, mode="bilinear", align_corners=False)
