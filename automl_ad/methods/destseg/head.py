"""DeSTSeg's trained part: maps the teacher's levels and the image to an anomaly map."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from automl_ad.methods.destseg.student import Student, init_like_resnet
from automl_ad.methods.features import align
from automl_ad.methods.resnet import residual_blocks

DILATION_PIXELS = 24
"""Smallest dilation in image pixels: the published 6 at a stride of 4."""


def unit_vectors(level: Tensor) -> Tensor:
    """L2-normalises a level [B, C, h, w] over its channels; zero vectors stay zero."""
    return functional.normalize(level, dim=1, eps=1e-12)


class Pyramid(nn.Module):
    """Atrous spatial pyramid pooling: the mean of the image beside three dilated convolutions, fused (section 3.3).

    Args:
        width: Channels, in and out.
        dilation: Dilation of the first of the three convolutions; the others have two and three times as much.
    """

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.mean = _convolution(width, width, 1)
        self.near = nn.ModuleList(_convolution(width, width, 3, factor * dilation) for factor in (1, 2, 3))
        self.fuse = _convolution(4 * width, width, 3)

    def forward(self, features: Tensor) -> Tensor:
        """float32 [B, width, h, w] to the same shape."""
        mean = self.mean(features.mean((2, 3), keepdim=True)).expand_as(features)
        fused: Tensor = self.fuse(torch.cat([mean, *(branch(features) for branch in self.near)], 1))
        return fused


class SegmentationNetwork(nn.Module):
    """Segments anomalies from the products of teacher and student features (section 3.3).

    Args:
        channels: Channels of the products, all levels together.
        width: Hidden channels, 256 as published.
        stride: Stride of its grid in image pixels; the dilations are scaled to cover the same image area.
        released: Whether fan-out initialisation is for the residual blocks alone, as released, or for the pyramid too.
    """

    def __init__(self, channels: int, width: int, stride: int, released: bool = False) -> None:
        super().__init__()
        self.refine = residual_blocks(channels, width, 2)
        self.judge = nn.Sequential(
            Pyramid(width, max(1, round(DILATION_PIXELS / stride))), _convolution(width, width, 3)
        )
        init_like_resnet(self.refine if released else self)
        # With fan-out initialisation, a single output would get weights so large that few pixels have a gradient.
        self.judge.append(nn.Conv2d(width, 1, 1))

    def forward(self, products: Tensor) -> Tensor:
        """float32 [B, C, h, w] to the log odds of anomalous, float32 [B, h, w]."""
        logits: Tensor = self.judge(self.refine(products))
        return logits[:, 0]


class DeStSegHead(nn.Module):
    """Student and segmentation network.

    Until the segmentation network is trained, the anomaly map is the product over levels of the cosine distances
    between teacher and student (the denoising student-teacher network alone, section 3.2).

    Args:
        channels: Channels of each of the teacher's levels, finest first.
        strides: Stride of each in image pixels.
        width: See ``Student``.
        blocks: See ``Student``.
        head_width: Width of the segmentation network.
        stride: Smallest stride of the map in image pixels; 4 as published.
        segments: Whether the segmentation network computes the map.
        released: See ``SegmentationNetwork``.

    Buffers:
        segments: bool scalar, as the argument, to rebuild the head from a state.
    """

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        width: int = 64,
        blocks: int = 2,
        head_width: int = 256,
        stride: int = 4,
        segments: bool = False,
        released: bool = False,
    ) -> None:
        super().__init__()
        self._channels = list(channels)
        self._reduce = max(1, stride // strides[0])
        self._segments = segments
        self.register_buffer("segments", torch.tensor(segments))
        self.student = Student(channels, strides, width, blocks)
        self.segmentation = SegmentationNetwork(sum(channels), head_width, strides[0] * self._reduce, released)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """The teacher's levels, and the images last, to float32 [B, h, w]."""
        products = self.products(maps)
        result: Tensor = self.segmentation(products) if self._segments else self.deviation(products)
        return result

    def use_segmentation(self) -> None:
        """Switches the map from feature distances to the segmentation network."""
        self._segments = True
        self.get_buffer("segments").fill_(True)

    def products(self, maps: Sequence[Tensor]) -> Tensor:
        """Negative channel-wise products of teacher and student features (section 3.3).

        Args:
            maps: float32 [B, C_k, h_k, w_k] of the teacher, and the images, float32 [B, 3, H, W] in 0 to 1.

        Returns:
            float32 [B, sum of C_k, h, w] on the grid of the map; over the channels of a level they sum to its negative
            cosine similarity.
        """
        teacher, images = maps[:-1], maps[-1]
        student = self.student(images, [level.shape[-2:] for level in teacher])
        pairs = zip(teacher, student, strict=True)
        levels = [-unit_vectors(taught) * unit_vectors(learned) for taught, learned in pairs]
        rows, columns = teacher[0].shape[-2:]
        return align(levels, (rows // self._reduce, columns // self._reduce))

    def deviation(self, products: Tensor) -> Tensor:
        """The product over the levels of the cosine distances, float32 [B, h, w], of ``products``."""
        distances = [1 + level.sum(1) for level in torch.split(products, self._channels, 1)]
        return torch.stack(distances).clamp_min(0).prod(0)


def _convolution(inputs: int, outputs: int, kernel: int, dilation: int = 1) -> nn.Sequential:
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=dilation, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )
