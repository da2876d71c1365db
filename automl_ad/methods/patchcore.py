"""PatchCore: distance to the nearest patch of a memory of normal patches (Roth et al. 2022, arXiv 2106.08265)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from automl_ad.data.image_set import ImageSet
from automl_ad.methods.base import MethodSettings
from automl_ad.methods.coreset import greedy_k_center
from automl_ad.methods.features import FeatureDetector, align, suggest_backbone, suggest_levels
from automl_ad.methods.pairs import PairSource
from automl_ad.methods.registry import register
from automl_ad.methods.space import Space
from automl_ad.training import Budget, Report

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

PROJECTION = 128
"""Dimensions of the random projection in which the memory is chosen."""
_MAX_PATCHES = 400_000
"""Patches looked at; beyond, each image gives a random share. Bounds the memory of the fit."""
_HELD = 2**21
"""Distances held at once, 8 MB; bounds the memory of scoring. Of each image in an exported graph, of all else."""


class PatchCoreSettings(MethodSettings):
    """Parameters of PatchCore.

    Attributes:
        ratio: Share of the patches kept in the memory.
        neighbours: Memory patches whose distances re-weight a score (the published b), the nearest one among them; 0
            turns re-weighting off, and so does 1, which leaves nothing to compare with.
        standardise: Divide each channel by its deviation over the normals. Fixed filters need it: their channels have
            different units.
    """

    ratio: float = 0.01
    neighbours: int = 9
    standardise: bool = False


@dataclass(frozen=True)
class _Part:
    """Some channels of the patches on a grid, and the same channels of the memory.

    Attributes:
        vectors: float32 [B, h, w, C].
        memory: float32 [M, C].
    """

    vectors: Tensor
    memory: Tensor

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w)."""
        return self.vectors.shape[1], self.vectors.shape[2]

    def lengths(self) -> Tensor:
        """Squared, float32 [B, h, w]."""
        return self.vectors.square().sum(3)

    def products(self, rows: slice = slice(None)) -> Tensor:
        """Times -2, what a squared distance has beside two squared lengths: float32 [B, rows, w, M]."""
        return self.vectors[:, rows] @ (-2 * self.memory).T


class PatchCoreHead(nn.Module):
    """Distance to the nearest memory patch, re-weighted by how usual that patch is.

    Buffers:
        memory: float32 [M, D].
        near: int64 [M, b], the b memory patches nearest to each, itself first.
        shift, scale: float32 [D], applied to features before distances.
    """

    memory: Tensor
    near: Tensor
    shift: Tensor
    scale: Tensor

    def __init__(self, memory: Tensor, near: Tensor, shift: Tensor, scale: Tensor) -> None:
        super().__init__()
        for key, value in {"memory": memory, "near": near, "shift": shift, "scale": scale}.items():
            self.register_buffer(key, value)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Feature levels to float32 [B, h, w].

        A coarse level belongs interpolated to the finest grid. Interpolation is as linear as products with the memory
        are, so these are taken on the level's own small grid and interpolated in its stead.
        """
        fine, coarse = self._parts(maps)
        aligned = [_Part(_enlarged(part.vectors, fine.grid), part.memory) for part in coarse]
        lengths = torch.stack([part.lengths() for part in (fine, *aligned)]).sum(0)
        norms = torch.stack([part.memory.square().sum(1) for part in (fine, *coarse)]).sum(0)
        cells = [part.products() + norms / len(coarse) for part in coarse]  # norms are added where there is least
        images = 1 if torch.compiler.is_exporting() else len(lengths)
        rows = max(1, _HELD // (images * fine.grid[1] * len(norms)))
        blocks = [slice(top, top + rows) for top in range(0, fine.grid[0], rows)]

        def squared(block: slice) -> Tensor:
            others = [_enlarged(cell, fine.grid, block) for cell in cells]
            return sum(others or [norms], start=fine.products(block))

        return torch.cat([self._score(squared(block), lengths[:, block]) for block in blocks], 1)

    def _parts(self, maps: Sequence[Tensor]) -> tuple[_Part, list[_Part]]:
        """The channels on the grid of the finest level, and those whose products are worth taking on a coarser one."""
        levels = smoothed(maps)
        size, counts = _grid(levels[0]), [level.shape[1] for level in levels]
        fine: list[_Part] = []
        coarse: list[_Part] = []
        centre = self.memory.mean(0)  # squares of vectors far from zero would lose the digits of small distances
        origin = self.shift + self.scale * centre
        own = (torch.split(values, counts, -1) for values in (origin, self.scale, self.memory - centre))
        for level, start, scale, memory in zip(levels, *own, strict=True):
            pays = _pays(level, size)
            cells = level if pays else align([level], size)
            (coarse if pays else fine).append(_Part((cells.permute(0, 2, 3, 1) - start) / scale, memory))
        vectors, memories = zip(*((part.vectors, part.memory) for part in fine), strict=True)
        return _Part(torch.cat(vectors, 3), torch.cat(memories, 1)), coarse

    def _score(self, squared: Tensor, lengths: Tensor) -> Tensor:
        """Equation 7 of the paper, applied to every patch and not only to the worst one.

        Args:
            squared: float32 [..., M], squared distances to the memory less the squared length of the patch, which
                does not change what is nearest.
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


def _least(values: Tensor) -> tuple[Tensor, Tensor]:
    """The least along the last axis, and where it is."""
    if torch.compiler.is_exporting():  # one operator of ONNX Runtime is twice as fast as two that look for a minimum
        found = values.topk(1, largest=False)
        return found.values[..., 0], found.indices[..., 0]
    least = values.min(-1)
    return least.values, least.indices


def _root(squared: Tensor) -> Tensor:
    """Distances; rounding can leave the square of a small one below zero."""
    return squared.clamp_min(0).sqrt()


def _grid(level: Tensor) -> tuple[int, int]:
    return int(level.shape[-2]), int(level.shape[-1])


def _pays(level: Tensor, size: tuple[int, int]) -> bool:
    """Whether products with one vector on a coarser grid, and their interpolation, take less than on the finest."""
    height, width = _grid(level)
    saved = level.shape[1] * (size[0] * size[1] - height * width)
    return height < size[0] and width < size[1] and saved > size[0] * width * (height + size[1])


def _enlarged(cells: Tensor, size: tuple[int, int], rows: slice = slice(None)) -> Tensor:
    """Interpolates float32 [B, h, w, K] to ``rows`` of a finer grid, [B, rows, size[1], K].

    The same as torch's bilinear interpolation without aligned corners, which has the channels foremost.
    """
    down, across = (_weights(cells.shape[axis + 1], size[axis], cells.device) for axis in (0, 1))
    tall = down[rows] @ cells.flatten(2)
    return across @ tall.reshape(tall.shape[0], tall.shape[1], *cells.shape[2:])


def _weights(coarse: int, fine: int, device: torch.device) -> Tensor:
    """How much of each of ``coarse`` values a linear interpolation takes for each of ``fine``: [fine, coarse]."""
    places = ((torch.arange(fine, device=device) + 0.5) * (coarse / fine) - 0.5).clamp(0, coarse - 1)
    return (1 - (places[:, None] - torch.arange(coarse, device=device)).abs()).clamp_min(0)


def smoothed(maps: Sequence[Tensor]) -> list[Tensor]:
    """Averages each level over 3 x 3 neighbours."""
    return [functional.avg_pool2d(level, 3, stride=1, padding=1) for level in maps]


def embed_patches(maps: Sequence[Tensor]) -> Tensor:
    """Averages each level over 3 x 3 neighbours and stacks all at the finest level's grid: float32 [B, D, h, w]."""
    smooth = smoothed(maps)
    return align(smooth, _grid(smooth[0]))


@register
class PatchCore(FeatureDetector):
    """Indifferent to where the part lies; memory and latency grow with the ratio."""

    name: ClassVar[str] = "patchcore"
    settings_type: ClassVar[type[MethodSettings]] = PatchCoreSettings
    settings: PatchCoreSettings
    head: PatchCoreHead

    def fit(self, normals: ImageSet, anomalies: PairSource | None, budget: Budget, report: Report) -> None:
        """See ``Detector.fit``."""
        del anomalies, budget
        generator = self._generator()
        vectors = self._patches(normals, generator)
        shift, scale = self._standard(vectors)
        vectors = (vectors - shift) / scale
        projection = torch.randn(vectors.shape[1], PROJECTION, generator=generator) / PROJECTION**0.5
        projected = vectors @ projection.to(vectors) if vectors.shape[1] > PROJECTION else vectors
        count = max(self.settings.neighbours + 1, round(self.settings.ratio * len(vectors)))
        memory = vectors[greedy_k_center(projected, count, generator)]
        self.head = PatchCoreHead(memory, self._neighbours(memory), shift, scale).to(self.extractor.device)
        report(1.0)

    def _patches(self, normals: ImageSet, generator: torch.Generator) -> Tensor:
        parts = []
        for maps in self._batches(normals):
            vectors = embed_patches(maps).permute(0, 2, 3, 1).flatten(1, 2)
            share = max(1, min(vectors.shape[1], _MAX_PATCHES // len(normals)))
            if share < vectors.shape[1]:
                vectors = vectors[:, torch.randperm(vectors.shape[1], generator=generator)[:share].to(vectors.device)]
            parts.append(vectors.flatten(0, 1))
        return torch.cat(parts)

    def _standard(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        if not self.settings.standardise:
            return torch.zeros_like(vectors[0]), torch.ones_like(vectors[0])
        return vectors.mean(0), vectors.std(0).clamp_min(1e-3)

    def _neighbours(self, memory: Tensor) -> Tensor:
        count = min(self.settings.neighbours, len(memory))
        return torch.cdist(memory, memory).topk(count, largest=False).indices

    def _empty_head(self, state: Mapping[str, Tensor]) -> PatchCoreHead:
        return PatchCoreHead(state["memory"], state["near"], state["shift"], state["scale"])

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
        }

    @classmethod
    def defaults(cls, space: Space) -> Sequence[dict[str, Any]]:
        """The two levels after the finest one (strides 8 and 16), as published."""
        return [
            {"backbone": b.name, "levels": b.middle, "ratio": 0.01, "standardise": b.fixed} for b in space.backbones
        ]
