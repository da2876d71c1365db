"""The interface of a backbone: a frozen network with numbered feature levels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from automl_ad.errors import InputError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Backbone(nn.Module):
    """A frozen feature extractor.

    Levels have negative indices: -1 is the deepest level of the complete network, even if the available weights end
    before it. Parallel tuples describe the available levels, finest first.

    Attributes:
        name: User-facing name, for example ``resnet18`` or ``embedded``.
        origin: Where the weights came from, for reports.
        licence: Licence of the weights, as far as known, for reports.
        weights_tag: Short identifier of the weights: backbones with equal tags compute equal features.
        levels: Available levels, as negative indices, ascending.
        channels: Channels of each level.
        strides: Stride of each level in image pixels.
    """

    name: str
    origin: str = "built in"
    licence: str = "Apache-2.0, as a part of automl-ad"
    weights_tag: str
    levels: tuple[int, ...]
    channels: tuple[int, ...]
    strides: tuple[int, ...]

    def forward(self, images: Tensor, levels: Sequence[int] | None = None) -> list[Tensor]:
        """Computes feature maps.

        Args:
            images: float32 [B, 3, H, W], RGB in 0 to 1; H and W multiples of 32.
            levels: Which of ``self.levels`` to compute, in output order; None for all.

        Returns:
            One float32 [B, C, h, w] map per level.
        """
        raise AssertionError("a backbone defines forward")  # pragma: no cover

    def tensors(self, levels: Sequence[int]) -> dict[str, Tensor]:
        """The weights needed to compute ``levels`` in another process; none for fixed filters."""
        self.positions(levels)
        return {}

    def parts(self, levels: Sequence[int]) -> list[tuple[Backbone, tuple[int, ...]]]:
        """The component backbones and their levels, from whose maps ``join`` computes ``levels``; by default itself.

        Features are cached by component, so that a joined backbone shares the cached features of its components.
        """
        self.positions(levels)
        return [(self, tuple(levels))]

    def join(self, maps: Sequence[list[Tensor]]) -> list[Tensor]:
        """The maps of the levels requested from ``parts``, given the maps of each component."""
        return maps[0]

    def positions(self, levels: Sequence[int]) -> list[int]:
        """Indices of ``levels`` in the parallel tuples.

        Raises:
            InputError: The network has no such level, or its weights do not include it.
        """
        missing = [level for level in levels if level not in self.levels]
        if missing:
            raise InputError(
                f"Backbone {self.name} has no level {missing[0]}; available are {list(self.levels)} (-1 is the deepest "
                "of the complete network). Choose among these or provide complete weights."
            )
        return [self.levels.index(level) for level in levels]

    def describe(self, levels: Sequence[int]) -> tuple[list[int], list[int]]:
        """Channels and strides of ``levels``, in their order."""
        indices = self.positions(levels)
        return [self.channels[i] for i in indices], [self.strides[i] for i in indices]

    def freeze(self) -> Backbone:
        """Disables gradients and switches to evaluation mode permanently; returns itself."""
        self.requires_grad_(False)
        return self.eval()

    def train(self, mode: bool = True) -> Backbone:
        """Ignores ``mode``: a backbone stays in evaluation mode, so that its batch norm statistics never change."""
        del mode
        super().train(False)
        return self


def normalise(images: Tensor, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD) -> Tensor:
    """Shifts and scales RGB in 0 to 1 to zero mean and unit deviation; ImageNet statistics by default."""
    shift = torch.tensor(mean, dtype=images.dtype, device=images.device)
    scale = torch.tensor(std, dtype=images.dtype, device=images.device)
    return (images - shift[:, None, None]) / scale[:, None, None]


NO_BACKBONE = "none"
BACKBONE_JOINT = " & "
"""Separates the names of the backbones of an ensemble."""


def backbones_named(name: str | None) -> frozenset[str]:
    """The backbones that a candidate's entry names: those of an ensemble are joined.

    >>> sorted(backbones_named("embedded & none"))
    ['embedded', 'none']
    """
    return frozenset() if name is None else frozenset(name.split(BACKBONE_JOINT))


class NoBackbone(Backbone):
    """A backbone without levels: it needs no weights and computes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.name = self.weights_tag = NO_BACKBONE
        self.levels = self.channels = self.strides = ()

    def forward(self, images: Tensor, levels: Sequence[int] | None = None) -> list[Tensor]:
        """See ``Backbone.forward``: always an empty list."""
        del images
        self.positions(levels or ())
        return []
