"""A detector as one module, from uint8 images to enlarged maps and scores; exported as a bundle's ``model.onnx``."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional

from automl_ad.evaluation.aggregation import ScoreAggregation

_WHITE = 255


class ScoreHead(nn.Module):
    """A score aggregation as a module: `automl_ad.evaluation.aggregation.score_maps` in float32.

    Smoothing and window means are separable and linear: one matrix for the rows and one for the columns does both.

    Args:
        aggregation: The score aggregation.
        map_size: (h, w) of the maps.
        image_size: (H, W) of the images that they belong to, in pixels: the unit of its lengths.
    """

    down: Tensor
    across: Tensor

    def __init__(self, aggregation: ScoreAggregation, map_size: tuple[int, int], image_size: tuple[int, int]) -> None:
        super().__init__()
        for name, extent, length in zip(("down", "across"), map_size, image_size, strict=True):
            matrix = torch.from_numpy(_along_axis(aggregation, extent, length)).float()
            self.register_buffer(name, matrix, persistent=False)
        self._filters = bool(aggregation.sigma or aggregation.pool)
        self._count = max(1, round(aggregation.fraction * (map_size[0] * map_size[1])))

    def forward(self, maps: Tensor) -> Tensor:
        """Maps, float32 [N, h, w], to scores, float32 [N]."""
        values = self.down @ maps @ self.across.T if self._filters else maps
        flat = values.flatten(1)
        if self._count == 1:
            return flat.amax(1)
        return flat.topk(self._count, sorted=False).values.mean(1)


def _along_axis(aggregation: ScoreAggregation, extent: int, length: int) -> npt.NDArray[np.float64]:
    """The matrix that smooths and averages ``extent`` values along an axis of ``length`` image pixels."""
    matrix = np.eye(extent)
    if aggregation.sigma:
        matrix = ndimage.gaussian_filter1d(matrix, aggregation.sigma * extent / length, axis=0)
    if not aggregation.pool:
        return matrix
    window = min(max(1, round(aggregation.pool * extent / length)), extent)
    means: npt.NDArray[np.float64] = np.lib.stride_tricks.sliding_window_view(matrix, window, axis=0).mean(2)
    return means


class DetectorGraph(nn.Module):
    """A fitted detector with the pre- and postprocessing of a bundle.

    Args:
        module: From float32 [N, 3, H, W] in 0 to 1 to maps, float32 [N, h, w]; on the CPU, in evaluation mode.
        aggregation: Turns the maps into scores.
        size: (H, W) of the images, in pixels.
    """

    def __init__(self, module: nn.Module, aggregation: ScoreAggregation, size: tuple[int, int]) -> None:
        super().__init__()
        self.module = module
        self._size = size
        with torch.no_grad():
            height, width = module(torch.zeros(1, 3, *size)).shape[-2:]
        self.score = ScoreHead(aggregation, (int(height), int(width)), size)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Computes maps and scores.

        Args:
            images: uint8 [N, H, W, 3], RGB.

        Returns:
            The raw maps, float32 [N, H, W], enlarged bilinearly with half-pixel centres and replicated borders, and
            the scores of the maps before enlarging, float32 [N].
        """
        maps = self.module(images.permute(0, 3, 1, 2).float() / _WHITE)
        large = functional.interpolate(maps[:, None], size=self._size, mode="bilinear", align_corners=False)
        return large[:, 0], self.score(maps)
