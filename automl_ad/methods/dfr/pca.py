"""The linear form of DFR in closed form: PCA reconstruction error.

Known as DFM (Ahuja et al. 2019, arXiv 1909.11786) for one vector per image.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from automl_ad.methods.features import Align, align

_MAX_IMAGES = 1_000
"""Maximum number of images in a PCA over whole images; more take hours without a gain in accuracy."""


class PcaHead(nn.Module):
    """Mean squared residual, per position, of features projected onto the components of the normals.

    Buffers:
        mean: float32 [D] for regional vectors, or [D * h * w] for whole images.
        components: float32 [D or D * h * w, k], orthonormal columns.
        grid: int64 [2], (h, w).
    """

    mean: Tensor
    components: Tensor
    grid: Tensor

    def __init__(self, mean: Tensor, components: Tensor, grid: Tensor, whole: bool, mode: Align) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("components", components)
        self.register_buffer("grid", grid)
        self._size = (int(grid[0]), int(grid[1]))
        self._whole = whole
        self._mode: Align = mode

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Feature levels to float32 [B, h, w]."""
        aligned = align(maps, self._size, self._mode)
        vectors = as_vectors(aligned, self._whole) - self.mean
        residual = vectors - (vectors @ self.components) @ self.components.T
        if self._whole:
            return residual.reshape(aligned.shape).square().mean(1)
        return residual.square().mean(1).reshape(-1, *self._size)


def as_vectors(aligned: Tensor, whole: bool) -> Tensor:
    """float32 [B, D, h, w] to one vector per image, [B, D * h * w], or per position, [B * h * w, D]."""
    return aligned.flatten(1) if whole else aligned.permute(0, 2, 3, 1).flatten(0, 2)


def components_of_positions(batches: Iterable[Tensor], variance: float) -> tuple[Tensor, Tensor]:
    """Principal components of vectors given as float32 [n, D] batches.

    Sums are taken relative to the mean of the first batch, as squares of large features would lose the precision of
    small spreads.

    Returns:
        The mean [D] and the fewest components [D, k] that hold the share ``variance`` of the variance.
    """
    origin, count = torch.zeros(0), 0
    total, products = torch.zeros(0), torch.zeros(0)
    for vectors in batches:
        if count == 0:
            origin = vectors.mean(0)
            total = torch.zeros_like(origin)
            products = total.new_zeros(len(total), len(total))
        shifted = vectors - origin
        total += shifted.sum(0)
        products.addmm_(shifted.T, shifted)
        count += len(vectors)
    shift = total / count
    values, vectors = torch.linalg.eigh(products / count - torch.outer(shift, shift))
    return origin + shift, vectors.flip(1)[:, : component_count(values.flip(0), variance)].contiguous()


def components_of_images(vectors: Tensor, variance: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Principal components of a few long vectors, float32 [N, D], from their N x N Gram matrix.

    Returns:
        The mean [D] and the fewest components [D, k] that hold the share ``variance`` of the variance.
    """
    if len(vectors) > _MAX_IMAGES:
        vectors = vectors[torch.randperm(len(vectors), generator=generator)[:_MAX_IMAGES].to(vectors.device)]
    mean = vectors.mean(0)
    centred = vectors - mean
    values, mixing = torch.linalg.eigh(centred @ centred.T)
    values, mixing = values.flip(0), mixing.flip(1)
    kept = component_count(
        values[: max(1, len(values) - 1)], variance
    )  # N centred vectors span at most N - 1 dimensions
    lengths = values[:kept].clamp_min(torch.finfo(values.dtype).tiny).sqrt()  # zero if all images are equal
    return mean, centred.T @ (mixing[:, :kept] / lengths)


def component_count(values: Tensor, share: float) -> int:
    """How many of the descending ``values`` reach ``share`` of their sum; at least one, without rounding noise."""
    values = values.clamp_min(0)
    solid = int((values > 1e-6 * values[0]).sum())
    needed = int((values.cumsum(0) < share * values.sum()).sum()) + 1
    return max(1, min(needed, solid))
