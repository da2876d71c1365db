"""PatchCore: distance to the nearest patch of a memory of normal patches (Roth et al. 2022, arXiv 2106.08265)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
        """Feature levels to float32 [B, h, w]."""
        patches = embed_patches(maps)
        height, width = patches.shape[-2:]
        vectors = (patches.permute(0, 2, 3, 1) - self.shift) / self.scale
        return torch.stack([self._score(image.flatten(0, 1)) for image in vectors]).reshape(-1, height, width)

    def _score(self, vectors: Tensor) -> Tensor:
        """float32 [P, D] to [P]: equation 7 of the paper, applied to every patch and not only to the worst one."""
        squared = torch.addmm(self.memory.square().sum(1), vectors, self.memory.T, alpha=-2)
        distances = (squared + vectors.square().sum(1, keepdim=True)).clamp_min(0).sqrt()
        nearest, which = distances.min(1)
        if self.near.shape[1] < 2:
            return nearest
        around = distances.gather(1, self.near[which])
        return nearest * (1 - torch.exp(nearest - torch.logsumexp(around, 1)))


def embed_patches(maps: Sequence[Tensor]) -> Tensor:
    """Averages each level over 3 x 3 neighbours and stacks all at the finest level's grid: float32 [B, D, h, w]."""
    smooth = [functional.avg_pool2d(level, 3, stride=1, padding=1) for level in maps]
    size = smooth[0].shape[-2:]
    return align(smooth, (int(size[0]), int(size[1])))


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
