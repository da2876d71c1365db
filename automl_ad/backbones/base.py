"""The contract of a backbone: a frozen network whose feature levels are numbered."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from automl_ad.errors import InputError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Backbone(nn.Module):
    """A frozen feature extractor.

    Levels are named by negative index: -1 is the deepest level of the whole network, also when the weights at hand
    end before it. Parallel tuples describe the levels that can be asked for, finest first.

    Attributes:
        name: What the user calls it, for example ``resnet18`` or ``embedded``.
        origin: Where the weights came from, for reports.
        licence: Of the weights, as far as it is known, for reports.
        weights_tag: Short digest that names the weights: two backbones with one tag give the same features.
        levels: Levels at hand, as negative indices, ascending.
        channels: Channels of each level.
        strides: Image pixels a feature step of each level.
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
            levels: Which of ``self.levels`` to compute, in the order wanted; all of them when None.

        Returns:
            One float32 [B, C, h, w] map a level.
        """
        raise AssertionError("a backbone defines forward")  # pragma: no cover

    def tensors(self, levels: Sequence[int]) -> dict[str, Tensor]:
        """The tensors that ``levels`` need to be computed elsewhere; none for fixed filters."""
        self.positions(levels)
        return {}

    def parts(self, levels: Sequence[int]) -> list[tuple[Backbone, tuple[int, ...]]]:
        """The backbones, and the levels of each, whose maps ``join`` turns into ``levels``; here just itself.

        Features are cached by part, so that a joined backbone shares what its parts have computed already.
        """
        self.positions(levels)
        return [(self, tuple(levels))]

    def join(self, maps: Sequence[list[Tensor]]) -> list[Tensor]:
        """The maps of the levels asked of ``parts``, from the maps of each part."""
        return maps[0]

    def positions(self, levels: Sequence[int]) -> list[int]:
        """Indices of ``levels`` in the parallel tuples.

        Raises:
            InputError: A level that the network lacks, or that its weights do not hold.
        """
        missing = [level for level in levels if level not in self.levels]
        if missing:
            raise InputError(
                f"Backbone {self.name} has no level {missing[0]} at hand; it can give {list(self.levels)} "
                "(-1 is the deepest of the whole network). Choose among these or provide complete weights."
            )
        return [self.levels.index(level) for level in levels]

    def describe(self, levels: Sequence[int]) -> tuple[list[int], list[int]]:
        """Channels and strides of ``levels``, in their order."""
        indices = self.positions(levels)
        return [self.channels[i] for i in indices], [self.strides[i] for i in indices]

    def freeze(self) -> Backbone:
        """Turns off gradients and training behaviour for good; returns itself."""
        self.requires_grad_(False)
        return self.eval()

    def train(self, mode: bool = True) -> Backbone:
        """A backbone stays in evaluation mode: batch statistics of anomalies must never enter it."""
        del mode
        super().train(False)
        return self


def normalise(images: Tensor, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD) -> Tensor:
    """Shifts and scales RGB in 0 to 1 to a network's channel statistics, ImageNet's unless given."""
    shift = torch.tensor(mean, dtype=images.dtype, device=images.device)
    scale = torch.tensor(std, dtype=images.dtype, device=images.device)
    return (images - shift[:, None, None]) / scale[:, None, None]
