"""PaDiM: one Gaussian for each image position (Defard et al. 2021, arXiv 2011.08785)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from automl_ad.data.image_set import ImageSet
from automl_ad.methods.base import MethodSettings
from automl_ad.methods.features import FeatureDetector, align, suggest_backbone, suggest_levels
from automl_ad.methods.fit_memory import FitNeed
from automl_ad.methods.pairs import PairSource
from automl_ad.methods.space import Space
from automl_ad.training import Budget, Report

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

PUBLISHED_CHANNELS, PUBLISHED_CHANNELS_WIDE = 100, 550
"""Random dimensions on ResNet18 and on WideResNet50 (Defard et al. 2021, arXiv 2011.08785)."""
_LEAST_RIDGE = 1e-5
"""Smallest ridge in units of a position's own mean variance: with less, rounding can make a covariance singular."""
_ARRAYS = 2
"""Arrays of the size of all covariances that a fit holds at once."""
_IMAGES = 32
"""Images per accumulation step: each step touches all covariances, so a few large steps are faster."""
_STRIPS = 3
"""Row strips in which whitening matrices are applied; more strips cost more than they save."""
_BLOCK = 512
"""Positions whose covariances are factorised at once; bounds the memory of the fit."""


class PadimSettings(MethodSettings):
    """Parameters of PaDiM.

    Attributes:
        channels: Number of channels kept, drawn at random as published; all if the levels have fewer.
        ridge: Added to the diagonal of every covariance, in units of the mean channel variance of the whole set.
    """

    channels: int = PUBLISHED_CHANNELS
    ridge: float = 0.02


class PadimHead(nn.Module):
    """Mahalanobis distance to each position's Gaussian.

    Buffers:
        index: int64 [D], the channels kept.
        mean: float32 [h * w, D].
        whitener: float32 [h * w, D, D], lower triangular, the inverse Cholesky factor of each covariance.
        grid: int64 [2], (h, w).
    """

    index: Tensor
    mean: Tensor
    whitener: Tensor
    grid: Tensor

    def __init__(self, index: Tensor, mean: Tensor, whitener: Tensor, grid: Tensor) -> None:
        super().__init__()
        self.register_buffer("index", index)
        self.register_buffer("mean", mean)
        self.register_buffer("whitener", whitener)
        self.register_buffer("grid", grid)
        self._size = (int(grid[0]), int(grid[1]))
        self._kept = [int(channel) for channel in index]

    def embed(self, maps: Sequence[Tensor]) -> Tensor:
        """Feature levels to float32 [h * w, B, D], grouped by position."""
        chosen, start = [], 0
        for level in maps:  # selected before resizing, as most channels are dropped
            own = [channel - start for channel in self._kept if start <= channel < start + level.shape[1]]
            chosen.append(level.index_select(1, torch.tensor(own, dtype=torch.int64, device=level.device)))
            start += level.shape[1]
        return align(chosen, self._size).flatten(2).permute(2, 0, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Feature levels to float32 [B, h, w] distances."""
        centred = (self.embed(maps) - self.mean[:, None]).contiguous()  # a strided product takes three times as long
        return self._lengths(centred).T.reshape(-1, *self._size)

    def _lengths(self, centred: Tensor) -> Tensor:
        """Whitened lengths, float32 [h * w, B], of float32 [h * w, B, D] vectors less their means.

        Reading the whitening matrices takes longer than multiplying by them, and they are triangular. An exported graph
        applies them in row strips without their zero columns, which avoids reading a third of the memory; torch does
        not gain from this.
        """
        if not torch.compiler.is_exporting():
            whitened = torch.bmm(self.whitener, centred.transpose(1, 2))
            lengths: Tensor = torch.linalg.vector_norm(whitened, dim=1)
            return lengths
        depth = len(self._kept)
        strip = max(1, math.ceil(depth / _STRIPS))
        bounds = [(top, min(top + strip, depth)) for top in range(0, depth, strip)]
        factors = [(end, self.whitener[:, top:end, :end].transpose(1, 2)) for top, end in bounds]
        strips = [torch.bmm(centred[:, :, :end], factor) for end, factor in factors]
        lengths = torch.linalg.vector_norm(torch.cat(strips, 2), dim=2)
        return lengths


def _moments(batches: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean [P, D] and covariance [P, D, D] of vectors given as float32 [P, B, D] batches.

    Sums are taken relative to the first image, as squares of large features would lose the precision of small spreads.
    """
    origin, count = torch.zeros(0), 0
    total, products = torch.zeros(0), torch.zeros(0)
    for batch in batches:
        if count == 0:
            origin = batch[:, :1].clone()
            total = torch.zeros_like(origin[:, 0])
            products = total.new_zeros(len(total), total.shape[1], total.shape[1])
        shifted = batch - origin
        total += shifted.sum(1)
        torch.baddbmm(products, shifted.transpose(1, 2), shifted, out=products)
        count += batch.shape[1]
    shift = total / count
    covariance = products.sub_(count * shift[:, :, None] * shift[:, None, :]).div_(max(count - 1, 1))
    return origin[:, 0] + shift, covariance


def _whiteners(covariance: Tensor, ridge: float) -> Tensor:
    """Inverse Cholesky factors of ``covariance + ridge * I``, [P, D, D]; they take the place of the covariances."""
    identity = torch.eye(covariance.shape[1], device=covariance.device)
    own = covariance.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
    ridges = (_LEAST_RIDGE * own).clamp_min(ridge)
    blocks = zip(torch.split(covariance, _BLOCK), torch.split(ridges, _BLOCK), strict=True)
    for block, added in blocks:
        block.copy_(_inverse_factor(block + added * identity, identity))
    return covariance


def _inverse_factor(matrices: Tensor, identity: Tensor) -> Tensor:
    factor: Tensor = torch.linalg.cholesky(matrices)
    inverse: Tensor = torch.linalg.solve_triangular(factor, identity.expand_as(factor), upper=False)
    return inverse


class Padim(FeatureDetector):
    """For aligned parts; fits in one pass without gradient training."""

    name: ClassVar[str] = "padim"
    settings_type: ClassVar[type[MethodSettings]] = PadimSettings
    settings: PadimSettings
    head: PadimHead

    def fit(self, normals: ImageSet, anomalies: PairSource | None, budget: Budget, report: Report) -> None:
        """See ``Detector.fit``: means and covariances are accumulated, so memory does not grow with the images."""
        del anomalies, budget
        self._placement(normals)
        first = next(self._batches(normals))
        height, width = first[0].shape[-2:]
        kept = self._draw_channels(sum(level.shape[1] for level in first))
        grid = torch.tensor([height, width])
        empty = torch.zeros(0)
        reader = PadimHead(kept, empty, empty, grid).to(self.extractor.device)
        mean, covariance = _moments(reader.embed(maps) for maps in self._batches(normals, _IMAGES))
        ridge = self.settings.ridge * float(covariance.diagonal(dim1=1, dim2=2).mean())
        self.head = PadimHead(kept, mean, _whiteners(covariance, max(ridge, 1e-8)), grid).to(self.extractor.device)
        report(1.0)

    def fit_need(self, images: int, size: tuple[int, int]) -> FitNeed:
        """See ``Detector.fit_need``: sums, covariances and their factors, each channels by channels a position."""
        counts, strides = self.extractor.backbone.describe(self.settings.levels)
        positions = (size[0] // min(strides)) * (size[1] // min(strides))
        kept = min(self.settings.channels, sum(counts))
        need = super().fit_need(images, size)
        return replace(need, fixed=need.fixed + 4.0 * _ARRAYS * positions * kept**2)

    def _draw_channels(self, available: int) -> Tensor:
        wanted = min(self.settings.channels, available)
        return torch.randperm(available, generator=self._generator())[:wanted].sort().values

    def _empty_head(self, state: Mapping[str, Tensor]) -> PadimHead:
        return PadimHead(state["index"], state["mean"], state["whitener"], state["grid"])

    @classmethod
    def suggest(cls, trial: BaseTrial, space: Space) -> dict[str, Any]:
        """See ``Detector.suggest``."""
        backbone = suggest_backbone(trial, space, cls.name)
        choices = space.backbone(backbone).runs()
        return {
            "backbone": backbone,
            "levels": suggest_levels(trial, cls.name, backbone, choices),
            "channels": trial.suggest_categorical("padim.channels", [40, 70, *_published_channels(space)]),
            "ridge": trial.suggest_categorical("padim.ridge", [0.005, 0.02, 0.1]),
        }

    @classmethod
    def defaults(cls, space: Space) -> Sequence[dict[str, Any]]:
        """The first three levels of stride 4 and up, and the published numbers of channels where effort is faithful."""
        few, *many = _published_channels(space)
        return [
            {"backbone": b.name, "levels": b.usable[:3], "ridge": 0.02}
            | {"channels": many[0] if many and b.name.startswith("wide_resnet50") else few}
            for b in space.backbones
        ]


def _published_channels(space: Space) -> list[int]:
    """Of ResNet18; where effort is faithful, of WideResNet50 too: its covariances need thirty times the memory."""
    return [PUBLISHED_CHANNELS, PUBLISHED_CHANNELS_WIDE] if space.effort == "faithful" else [PUBLISHED_CHANNELS]
