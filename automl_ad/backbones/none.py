"""The null backbone, for detectors that use the image only."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from automl_ad.backbones.base import Backbone

NO_BACKBONE = "none"


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
