"""Untrained residual networks of any width; in timm's, the stem always has 64 channels."""

from __future__ import annotations

from torch import nn


def residual_blocks(inputs: int, outputs: int, count: int, stride: int = 1) -> nn.Sequential:
    """Residual blocks of two 3 x 3 convolutions each; the first changes channels and resolution."""
    from timm.models.resnet import BasicBlock, downsample_conv  # imported here: takes seconds

    same = inputs == outputs and stride == 1
    first = BasicBlock(inputs, outputs, stride, None if same else downsample_conv(inputs, outputs, 1, stride))
    return nn.Sequential(first, *(BasicBlock(outputs, outputs) for _ in range(count - 1)))


def resnet18(inputs: int, width: int, halvings: int = 5) -> nn.Sequential:
    """A ResNet-18 without pooling and classifier.

    Args:
        inputs: Input channels.
        width: Channels of the stem and the first stage, 64 as published; every later stage has twice as many.
        halvings: Number of stride-2 steps: 5 for the whole network, at least 2 for stem and first stage alone.
    """
    return nn.Sequential(
        nn.Conv2d(inputs, width, 7, stride=2, padding=3, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, stride=2, padding=1),
        residual_blocks(width, width, 2),
        *(residual_blocks(width << stage, width << stage + 1, 2, stride=2) for stage in range(halvings - 2)),
    )
