"""DeSTSeg's student: a network that answers on an anomalous image what the teacher says of the good one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from automl_ad.backbones.base import normalise
from automl_ad.methods.resnet import residual_blocks, resnet18

STRIDES = (32, 16, 8, 4)
"""Image pixels a step of each stage of the decoder, in the order in which they run."""


class Student(nn.Module):
    """A ResNet-18 and a decoder of residual blocks, both from scratch (section 3.2).

    Nothing bypasses the bottleneck, so that an anomaly is not simply passed on. With a width of 64 and a ResNet-18 or
    34 as the teacher, the decoder's stages have the teacher's channels and are the outputs.

    Args:
        channels: Channels of each of the teacher's levels.
        strides: Image pixels a step of each.
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
        start_as_resnet(self)
        _silence_branches(self.encoder)

    def forward(self, images: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
        """What the teacher would say if nothing were wrong with the images.

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


def start_as_resnet(network: nn.Module) -> None:
    """Draws the weights of all convolutions as ResNets do, by the number of outputs (He et al., 2015)."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")


def _silence_branches(encoder: nn.Module) -> None:
    """Lets every block start as its shortcut, as timm's ResNets do; the published decoder does not."""
    for module in encoder.modules():
        silence = getattr(module, "zero_init_last", None)
        if silence is not None:
            silence()


def _nearest_stage(stride: int) -> int:
    """Which stage is nearest in resolution, so that 14 and 16 pixels a step read the same one."""
    distances = [abs(math.log(stride / own)) for own in STRIDES]
    return distances.index(min(distances))


def _output(inputs: int, outputs: int, alone: bool) -> nn.Module:
    """The stage itself where it fits; levels that share a stage would get equal answers, so these are projected."""
    return nn.Identity() if inputs == outputs and alone else nn.Conv2d(inputs, outputs, 1)


def _resized(level: Tensor, size: tuple[int, int]) -> Tensor:
    if level.shape[-2:] == size:
        return level
    return functional.interpolate(level, size=size, mode="bilinear", align_corners=False)
