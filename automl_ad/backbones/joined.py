"""A network concatenated with the embedded filters: ``resnet18+filters``.

On fabrics the filters capture detail that ImageNet features lose; they add a few channels per level.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from automl_ad.backbones.base import Backbone
from automl_ad.backbones.embedded import EmbeddedBackbone


class JoinedBackbone(Backbone):
    """The levels of ``network``, each concatenated with the channels of the filter level nearest in stride."""

    def __init__(self, network: Backbone) -> None:
        super().__init__()
        self.network = network
        self.filters = EmbeddedBackbone()
        self.name = f"{network.name}+filters"
        self.origin = network.origin
        self.licence = network.licence
        self.weights_tag = f"{network.weights_tag}+{self.filters.weights_tag}"
        self.levels, self.strides = network.levels, network.strides
        self.channels = tuple(count + self.filters.channels[0] for count in network.channels)
        self.freeze()

    def forward(self, images: Tensor, levels: Sequence[int] | None = None) -> list[Tensor]:
        """See ``Backbone.forward``."""
        wanted = self.levels if levels is None else tuple(levels)
        return self.join([part(images, theirs) for part, theirs in self.parts(wanted)])

    def parts(self, levels: Sequence[int]) -> list[tuple[Backbone, tuple[int, ...]]]:
        """See ``Backbone.parts``: the network's levels, and the filter level for each."""
        beside = tuple(self._filter_level(stride) for stride in self.describe(levels)[1])
        return [(self.network, tuple(levels)), (self.filters, beside)]

    def join(self, maps: Sequence[list[Tensor]]) -> list[Tensor]:
        """See ``Backbone.join``: concatenates channels on the network's grid."""
        return [torch.cat([deep, _fit(flat, deep)], 1) for deep, flat in zip(*maps, strict=True)]

    def tensors(self, levels: Sequence[int]) -> dict[str, Tensor]:
        """See ``Backbone.tensors``: the network's; the filters need none."""
        return self.network.tensors(levels)

    def _filter_level(self, stride: int) -> int:
        distances = [abs(own - stride) for own in self.filters.strides]
        return self.filters.levels[distances.index(min(distances))]


def _fit(maps: Tensor, like: Tensor) -> Tensor:
    if maps.shape[-2:] == like.shape[-2:]:
        return maps
    return functional.interpolate(maps, size=like.shape[-2:], mode="bilinear", align_corners=False)
