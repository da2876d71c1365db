"""PatchCore: distance to the nearest patch in a memory bank of normal patches (Roth et al. 2022, arXiv 2106.08265)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from automl_ad.data.image_set import ImageSet
from automl_ad.methods.base import MethodSettings
from automl_ad.methods.coreset import DISTANCE_BLOCK, greedy_k_center
from automl_ad.methods.features import FeatureDetector, align, suggest_backbone, suggest_levels
from automl_ad.methods.fit_memory import FitNeed
from automl_ad.methods.pairs import PairSource
from automl_ad.methods.space import Space
from automl_ad.training import Budget, Report
from automl_ad.tuned import PATCHCORE_VARIANCE

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

PROJECTION = 128
"""Dimensions of the random projection in which the coreset is selected."""
_LEAST_DIRECTIONS = 64
"""Minimum kept: fewer save nothing, and of a few dozen channels the least varying ones show most anomalies."""
_MAX_PATCHES = 400_000
"""Maximum number of patches; above it, each image gives a random share. Bounds the memory of the fit."""
_HELD = 2**21
"""Distances held at once (8 MB), per batch, or per image in an exported graph; bounds the memory of scoring."""


class PatchCoreSettings(MethodSettings):
    """Parameters of PatchCore.

    Attributes:
        ratio: Share of the patches kept in the memory bank.
        neighbours: Memory patches used to re-weight a score (the published b), including the nearest one; 0 and 1
            turn re-weighting off.
        standardise: Divide each channel by its standard deviation over the normals. Fixed filters need it: their
            channels have different units.
        variance: Share of the memory's variance kept by the principal directions in which dot products are computed;
            the components outside these enter through squared lengths only. 1 is the published distance.
    """

    ratio: float = 0.01
    neighbours: int = 9
    standardise: bool = False
    variance: float = Field(default=1.0, gt=0, le=1)


class PatchCoreHead(nn.Module):
    """Distance to the nearest memory patch, re-weighted by how typical that patch is.

    Buffers:
        memory: float32 [M, K], centred and in the directions of ``basis``.
        lengths: float32 [M], squared lengths of the centred memory in all directions.
        near: int64 [M, b], the b nearest memory patches of each, itself first.
        origin, scale: float32 [D], standardise the features before distances.
        basis: float32 [D, K], orthonormal directions for dot products; [D, 0] for all directions.
    """

    memory: Tensor
    lengths: Tensor
    near: Tensor
    origin: Tensor
    scale: Tensor
    basis: Tensor

    def __init__(self, **buffers: Tensor) -> None:
        super().__init__()
        for key in ("memory", "lengths", "near", "origin", "scale", "basis"):
            self.register_buffer(key, buffers[key])

    @classmethod
    def of(cls, memory: Tensor, near: Tensor, shift: Tensor, scale: Tensor, variance: float = 1.0) -> PatchCoreHead:
        """Builds the head, with the memory projected onto the directions that hold ``variance`` of its variance.

        Args:
            memory: float32 [M, D].
            near: int64 [M, b].
            shift, scale: float32 [D], already applied to the memory patches.
            variance: Share of the variance, above 0 and at most 1.
        """
        centre = memory.mean(0)  # squares of vectors far from zero would lose precision of small distances
        centred = memory - centre
        basis = _directions(centred, variance)
        return cls(
            memory=centred @ basis if basis.shape[1] else centred,
            lengths=centred.square().sum(1),
            near=near,
            origin=shift + scale * centre,
            scale=scale,
            basis=basis,
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Feature levels to float32 [B, h, w]."""
        vectors, lengths = self._vectors(maps)
        images = 1 if torch.compiler.is_exporting() else len(vectors)
        rows = max(1, _HELD // (images * vectors.shape[2] * len(self.memory)))
        blocks = [slice(top, top + rows) for top in range(0, vectors.shape[1], rows)]
        # Squared memory lengths are an extra column, as adding them later would be another pass over all distances.
        memory = torch.cat([-2 * self.memory, self.lengths[:, None]], 1).T
        vectors = functional.pad(vectors, (0, 1), value=1.0)
        return torch.cat([self._score(vectors[:, block] @ memory, lengths[:, block]) for block in blocks], 1)

    def _vectors(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Patches on the grid of the finest level, float32 [B, h, w, K], and their squared lengths, [B, h, w].

        Coarse levels are interpolated to the finest grid. Interpolation and projection are both linear, so the
        projection comes first, on the smaller grid.
        """
        levels = smoothed(maps)
        size, counts = _grid(levels[0]), [level.shape[1] for level in levels]
        turned = self.basis.shape[1] > 0
        own = (torch.split(values, counts) for values in (self.origin, self.scale, self.basis))
        parts, lengths = [], []
        for level, origin, scale, basis in zip(levels, *own, strict=True):
            cells = (_pooled(level, size).permute(0, 2, 3, 1) - origin) / scale
            whole = _enlarged(cells, size)
            lengths.append(torch.linalg.vector_norm(whole, dim=3).square())  # three times as fast as a sum of squares
            parts.append(_enlarged(cells @ basis, size) if turned else whole)
        return _total(parts) if turned else torch.cat(parts, 3), _total(lengths)

    def _score(self, squared: Tensor, lengths: Tensor) -> Tensor:
        """Equation 7 of the paper, applied to every patch and not only to the worst one.

        Args:
            squared: float32 [..., M], squared distances to the memory less the squared length of the patch, which
                does not change the nearest neighbour.
            lengths: float32 [...], that squared length.

        Returns:
            float32 [...].
        """
        least, which = _least(squared)
        nearest = _root(least + lengths)
        if self.near.shape[1] < 2:
            return nearest
        around = _root(squared.gather(-1, self.near[which]) + lengths[..., None])
        return nearest * (1 - torch.exp(nearest - torch.logsumexp(around, -1)))


def _total(parts: Sequence[Tensor]) -> Tensor:
    return reduce(torch.add, parts)  # in ONNX Runtime ten times as fast as a sum over a stack


def _least(values: Tensor) -> tuple[Tensor, Tensor]:
    """Minimum and argmin along the last axis."""
    if torch.compiler.is_exporting():  # in ONNX Runtime one TopK is twice as fast as two reductions
        found = values.topk(1, largest=False)
        return found.values[..., 0], found.indices[..., 0]
    least = values.min(-1)
    return least.values, least.indices


def _root(squared: Tensor) -> Tensor:
    """Square root; clamped, as rounding can make a small squared distance negative."""
    return squared.clamp_min(0).sqrt()


def _grid(level: Tensor) -> tuple[int, int]:
    return int(level.shape[-2]), int(level.shape[-1])


def _pooled(level: Tensor, size: tuple[int, int]) -> Tensor:
    """Averages a level over the cells of a grid, unless it is the coarser one."""
    height, width = _grid(level)
    return level if height <= size[0] and width <= size[1] else align([level], size)


def _enlarged(cells: Tensor, size: tuple[int, int]) -> Tensor:
    """Interpolates float32 [B, h, w, K] to a finer grid, [B, *size, K].

    Equals torch's bilinear interpolation without aligned corners, but for channels-last input.
    """
    if cells.shape[1:3] == size:
        return cells
    down, across = (_weights(cells.shape[axis + 1], size[axis], cells.device) for axis in (0, 1))
    tall = down @ cells.flatten(2)
    return across @ tall.reshape(tall.shape[0], tall.shape[1], *cells.shape[2:])


def _weights(coarse: int, fine: int, device: torch.device) -> Tensor:
    """Weights of a linear interpolation from ``coarse`` to ``fine`` values: [fine, coarse]."""
    places = ((torch.arange(fine, device=device) + 0.5) * (coarse / fine) - 0.5).clamp(0, coarse - 1)
    return (1 - (places[:, None] - torch.arange(coarse, device=device)).abs()).clamp_min(0)


def smoothed(maps: Sequence[Tensor]) -> list[Tensor]:
    """Averages each level over 3 x 3 neighbours."""
    return [functional.avg_pool2d(level, 3, stride=1, padding=1) for level in maps]


def _directions(centred: Tensor, variance: float) -> Tensor:
    """The fewest principal directions of float32 [M, D] vectors that hold the share ``variance``, [D, K].

    [D, 0] if all directions are needed, since a rotation would save nothing.
    """
    if variance >= 1 or centred.shape[1] <= _LEAST_DIRECTIONS:
        return centred.new_zeros(centred.shape[1], 0)
    exact = centred.double()
    values, directions = torch.linalg.eigh(exact.T @ exact)
    held = values.flip(0).clamp_min(0).cumsum(0)
    count = max(_LEAST_DIRECTIONS, int((held < variance * held[-1]).sum()) + 1)
    chosen: Tensor = directions.flip(1)[:, :count].float().contiguous()
    return chosen


def embed_patches(maps: Sequence[Tensor]) -> Tensor:
    """Averages each level over 3 x 3 neighbours and concatenates all on the finest grid: float32 [B, D, h, w]."""
    smooth = smoothed(maps)
    return align(smooth, _grid(smooth[0]))


class PatchCore(FeatureDetector):
    """Does not depend on the position of the part; memory and latency grow with the ratio."""

    name: ClassVar[str] = "patchcore"
    settings_type: ClassVar[type[MethodSettings]] = PatchCoreSettings
    settings: PatchCoreSettings
    head: PatchCoreHead

    def fit(self, normals: ImageSet, anomalies: PairSource | None, budget: Budget, report: Report) -> None:
        """See ``Detector.fit``."""
        del anomalies, budget
        generator, placement = self._generator(), self._placement(normals)
        vectors = self._patches(normals, generator, placement.store)
        shift, scale = self._standard(vectors)
        vectors.sub_(shift).div_(scale)
        projection = torch.randn(vectors.shape[1], PROJECTION, generator=generator) / PROJECTION**0.5
        projected = vectors @ projection.to(vectors) if vectors.shape[1] > PROJECTION else vectors
        chosen = greedy_k_center(projected.to(placement.device), self._memory_size(len(vectors)), generator)
        memory, shift, scale = (
            found.to(placement.device) for found in (vectors[chosen.to(vectors.device)], shift, scale)
        )
        self.head = PatchCoreHead.of(memory, self._neighbours(memory), shift, scale, self.settings.variance)
        report(1.0)

    def _patches(self, normals: ImageSet, generator: torch.Generator, store: torch.device) -> Tensor:
        parts = []
        for maps in self._batches(normals):
            vectors = embed_patches(maps).permute(0, 2, 3, 1).flatten(1, 2)
            share = max(1, min(vectors.shape[1], _MAX_PATCHES // len(normals)))
            if share < vectors.shape[1]:
                vectors = vectors[:, torch.randperm(vectors.shape[1], generator=generator)[:share].to(vectors.device)]
            parts.append(vectors.flatten(0, 1).to(store))
        return torch.cat(parts)

    def fit_need(self, images: int, size: tuple[int, int]) -> FitNeed:
        """See ``Detector.fit_need``: all patches, joined from those of each image; projection, memory and distances."""
        counts, strides = self.extractor.backbone.describe(self.settings.levels)
        patches = min(images * (size[0] // min(strides)) * (size[1] // min(strides)), _MAX_PATCHES)
        memory = self._memory_size(patches)
        distances = 4.0 * memory * (memory + DISTANCE_BLOCK)
        projected = 4.0 * patches * min(PROJECTION, sum(counts))
        need = super().fit_need(images, size)
        return replace(need, fixed=need.fixed + projected + distances, stored=2 * 4.0 * patches * sum(counts))

    def _memory_size(self, patches: int) -> int:
        return max(self.settings.neighbours + 1, round(self.settings.ratio * patches))

    def _standard(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        if not self.settings.standardise:
            return torch.zeros_like(vectors[0]), torch.ones_like(vectors[0])
        return vectors.mean(0), vectors.std(0).clamp_min(1e-3)

    def _neighbours(self, memory: Tensor) -> Tensor:
        count = min(self.settings.neighbours, len(memory))
        return torch.cdist(memory, memory).topk(count, largest=False).indices

    def _empty_head(self, state: Mapping[str, Tensor]) -> PatchCoreHead:
        return PatchCoreHead(**state)

    @classmethod
    def suggest(cls, trial: BaseTrial, space: Space) -> dict[str, Any]:
        """See ``Detector.suggest``."""
        backbone = suggest_backbone(trial, space, cls.name)
        runs = space.backbone(backbone).runs(2)
        choices = [run for run in runs if space.backbone(backbone).stride(run[0]) >= 8] or runs
        return {
            "backbone": backbone,
            "levels": suggest_levels(trial, cls.name, backbone, choices),
            "ratio": trial.suggest_categorical("patchcore.ratio", [0.003, 0.01, 0.03]),
            "standardise": trial.suggest_categorical("patchcore.standardise", [False, True]),
            "variance": _variance(space),
        }

    @classmethod
    def defaults(cls, space: Space) -> Sequence[dict[str, Any]]:
        """The two levels after the finest one (strides 8 and 16), as published."""
        return [
            {
                "backbone": b.name,
                "levels": b.middle,
                "ratio": 0.01,
                "standardise": b.fixed,
                "variance": _variance(space),
            }
            for b in space.backbones
        ]


def _variance(space: Space) -> float:
    return 1.0 if space.effort == "faithful" else PATCHCORE_VARIANCE
