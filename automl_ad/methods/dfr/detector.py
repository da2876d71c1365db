"""DFR as a detector: regional features and one of three reconstruction models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from automl_ad.backbones.extractor import BATCH
from automl_ad.backbones.vgg import is_vgg
from automl_ad.data.image_set import ImageSet
from automl_ad.methods.base import MethodSettings
from automl_ad.methods.dfr.autoencoder import AutoencoderHead, Form
from automl_ad.methods.dfr.pca import PcaHead, as_vectors, components_of_images, components_of_positions
from automl_ad.methods.features import (
    Align,
    FeatureDetector,
    align,
    suggest_backbone,
    suggest_levels,
)
from automl_ad.methods.fit_memory import FitNeed, Placement, activation_bytes
from automl_ad.methods.pairs import PairSource
from automl_ad.methods.space import BackboneSpace, Effort, Space
from automl_ad.training import Budget, Report, TrainingPlan, train

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

Model = Literal["image_pca", "pca", "autoencoder"]

_PLANS: dict[Effort, dict[str, Any]] = {
    "quick": {"steps": 500, "batch": 512, "rate": 1e-3, "vectors": 20_000},
    "balanced": {"steps": 2_000, "batch": 2_048, "rate": 5e-4, "vectors": 60_000},
    "thorough": {"steps": 8_000, "batch": 4_096, "rate": 3e-4, "vectors": 120_000},
    "faithful": {"steps": 36_000, "batch": 16_384, "rate": 1e-4, "vectors": 200_000},
}
"""Training of the autoencoder. ``faithful``: 700 passes over about 209 images in batches of 4 images at 64 x 64."""
_LONG_EFFORTS: tuple[Effort, ...] = ("thorough", "faithful")
"""Efforts that can afford the published grid and levels."""
_BLOCK = 16_384
"""Vectors per accumulation step; bounds the memory of the fit."""
_CHANNELS_A_DIMENSION = 4
"""Channels for each latent dimension, as the memory of a fit is estimated; known only once features are there."""


class DfrSettings(MethodSettings):
    """Parameters of DFR.

    Attributes:
        model: Reconstruction model: ``autoencoder`` (the paper), ``pca`` (its linear form, one vector per position) or
            ``image_pca`` (one vector per image, which also models the layout of the part).
        stride: Stride in image pixels of the grid to which levels are aligned.
        variance: Share of the normals' variance that determines the latent size.
        mode: Interpolation of coarser levels; nearest in the paper.
        autoencoder: Layers of the autoencoder: those of the authors' ``released`` code or of the ``paper``'s appendix.
        steps, batch, rate, vectors: Training of the autoencoder. All five are ignored by the linear forms.
    """

    model: Model = "autoencoder"
    stride: int = 4
    variance: float = Field(default=0.9, gt=0, lt=1)
    mode: Align = "bilinear"
    autoencoder: Form = "released"
    steps: int = _PLANS["quick"]["steps"]
    batch: int = _PLANS["quick"]["batch"]
    rate: float = _PLANS["quick"]["rate"]
    vectors: int = _PLANS["quick"]["vectors"]

    @property
    def trains(self) -> bool:
        """See ``MethodSettings.trains``: the linear forms are computed in closed form."""
        return self.model == "autoencoder"


class Dfr(FeatureDetector):
    """Reconstruction error of regional features; its linear forms take seconds."""

    name: ClassVar[str] = "dfr"
    settings_type: ClassVar[type[MethodSettings]] = DfrSettings
    settings: DfrSettings
    head: nn.Module

    def fit(self, normals: ImageSet, anomalies: PairSource | None, budget: Budget, report: Report) -> None:
        """See ``Detector.fit``."""
        del anomalies
        size, placement = self._grid(normals.size), self._placement(normals)
        if self.settings.model == "autoencoder":
            self._fit_autoencoder(normals, size, placement, budget, report)
        else:
            self.head = self._fit_pca(normals, size).to(self.extractor.device)
            report(1.0)

    def fit_need(self, images: int, size: tuple[int, int]) -> FitNeed:
        """See ``Detector.fit_need``: vectors of images or of positions, their products, and the autoencoder."""
        need, (rows, columns) = super().fit_need(images, size), self._grid(size)
        channels = sum(self.extractor.backbone.describe(self.settings.levels)[0])
        if self.settings.model == "image_pca":  # joined from those of each batch, and centred
            return replace(need, fixed=need.fixed + 3 * 4.0 * images * channels * rows * columns)
        products = 3 * 4.0 * channels**2 + 2 * 4.0 * channels * max(BATCH * rows * columns, _BLOCK)
        need = replace(need, fixed=need.fixed + products)
        if self.settings.model == "pca":
            return need
        grid = torch.tensor([rows, columns])
        with torch.device("meta"):
            head = self._autoencoder(channels, max(1, channels // _CHANNELS_A_DIMENSION), grid)
            example = activation_bytes(lambda vectors: head.errors(torch.empty(vectors, channels)).mean())
        stored = 4.0 * channels * min(self.settings.vectors, images * rows * columns)
        return need.with_training(head, example=example, batch=self.settings.batch, stored=stored)

    def _grid(self, size: tuple[int, int]) -> tuple[int, int]:
        return max(1, size[0] // self.settings.stride), max(1, size[1] // self.settings.stride)

    def _aligned(self, normals: ImageSet, size: tuple[int, int]) -> Iterator[Tensor]:
        return (align(maps, size, self.settings.mode) for maps in self._batches(normals))

    def _fit_pca(self, normals: ImageSet, size: tuple[int, int]) -> PcaHead:
        whole = self.settings.model == "image_pca"
        vectors = (as_vectors(aligned, whole) for aligned in self._aligned(normals, size))
        if whole:
            found = components_of_images(torch.cat(list(vectors)), self.settings.variance, self._generator())
        else:
            found = components_of_positions(vectors, self.settings.variance)
        return PcaHead(*found, torch.tensor(size), whole, self.settings.mode)

    def _fit_autoencoder(
        self, normals: ImageSet, size: tuple[int, int], placement: Placement, budget: Budget, report: Report
    ) -> None:
        generator, parts = self._generator(), placement.accumulate
        vectors = self._sample(normals, size, placement.store, generator)
        blocks = (block.to(placement.device) for block in torch.split(vectors, _BLOCK))
        mean, components = components_of_positions(blocks, self.settings.variance)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            head = self._autoencoder(vectors.shape[1], components.shape[1], torch.tensor(size))
        head.init_output(mean)
        self.head = head.to(self.extractor.device)
        plan = TrainingPlan(self.settings.steps, self.settings.rate, accumulate=parts, half=self._half_precision)
        batch = self.settings.batch // parts
        train(head, lambda: head.loss(vectors, batch, generator), plan, budget=budget, report=report)

    def _autoencoder(self, channels: int, latent: int, grid: Tensor) -> AutoencoderHead:
        return AutoencoderHead(channels, latent, grid, self.settings.mode, self.settings.autoencoder)

    def _sample(
        self, normals: ImageSet, size: tuple[int, int], store: torch.device, generator: torch.Generator
    ) -> Tensor:
        """A random share of every image's vectors, float32 [about ``settings.vectors``, D]."""
        share = max(1, min(size[0] * size[1], self.settings.vectors // len(normals)))
        sample, filled = torch.empty(0), 0
        for aligned in self._aligned(normals, size):
            if not filled:  # allocated once, as concatenation would copy gigabytes
                sample = torch.empty(share * len(normals), aligned.shape[1], device=store)
            for image in torch.split(as_vectors(aligned, whole=False), size[0] * size[1]):
                rows = torch.randperm(len(image), generator=generator)[:share]
                sample[filled : filled + share] = image[rows.to(image.device)]
                filled += share
        return sample

    def _empty_head(self, state: Mapping[str, Tensor]) -> nn.Module:
        if self.settings.model == "autoencoder":
            return self._autoencoder(state["encoder.0.weight"].shape[1], int(state["latent"]), state["grid"])
        whole = self.settings.model == "image_pca"
        return PcaHead(state["mean"], state["components"], state["grid"], whole, self.settings.mode)

    @classmethod
    def suggest(cls, trial: BaseTrial, space: Space) -> dict[str, Any]:
        """See ``Detector.suggest``."""
        backbone = suggest_backbone(trial, space, cls.name)
        model = str(trial.suggest_categorical("dfr.model", ["image_pca", "pca", "autoencoder"]))
        levels = _suggest_levels(trial, space, backbone, model)
        settings: dict[str, Any] = {"backbone": backbone, "levels": levels, "model": model}
        settings["variance"] = trial.suggest_categorical("dfr.variance", [0.8, 0.9, 0.95, 0.98])
        strides = [16, 32] if model == "image_pca" else [8, 16] if space.effort == "quick" else [4, 8, 16]
        settings["stride"] = trial.suggest_categorical(f"dfr.stride.{model}", strides)
        if model == "autoencoder":
            settings["autoencoder"] = trial.suggest_categorical("dfr.autoencoder", ["released", "paper"])
            settings |= _PLANS[space.effort]
        return settings

    @classmethod
    def defaults(cls, space: Space) -> Sequence[dict[str, Any]]:
        """The linear forms at their best-known settings, then the paper's autoencoder."""
        images = [_linear(b, "image_pca", 16 if b.fixed else 32, 0.95) for b in space.backbones]
        positions = [_linear(b, "pca", 16, 0.95) for b in space.backbones]
        return [*images, *positions, _trained(space) | _PLANS[space.effort]]


def _suggest_levels(trial: BaseTrial, space: Space, backbone: str, model: str) -> tuple[int, ...]:
    own = space.backbone(backbone)
    stacks = _stacks(own, space.effort) if model != "image_pca" else []  # too much memory for whole images
    name = f"{backbone}.layers" if stacks else backbone
    return suggest_levels(trial, Dfr.name, name, list(dict.fromkeys(own.runs() + stacks)))


def _stacks(backbone: BackboneSpace, effort: Effort) -> list[tuple[int, ...]]:
    """The published sets of levels of a VGG network that its weights provide, for long efforts; else none.

    For VGG19: relu1_1 to relu4_4, the paper's light setting (3456 channels); all 16, its best (5504); relu3_1 to
    relu4_4.
    """
    if not is_vgg(backbone.name) or effort not in _LONG_EFFORTS:
        return []
    stacks = [backbone.within(1, 8), backbone.within(1, 16), backbone.within(4, 8)]
    return [stack for stack in stacks if stack]


def _trained(space: Space) -> dict[str, Any]:
    """The paper's autoencoder, on a VGG network if available."""
    vggs = [backbone for backbone in space.backbones if is_vgg(backbone.name)]
    chosen = next(iter(vggs), space.backbones[0])
    levels = chosen.usable[:2] if vggs else chosen.usable[:3]  # of VGG19, relu3_4 and relu4_4
    return {
        "backbone": chosen.name,
        "levels": next(iter(_stacks(chosen, space.effort)), levels),
        "model": "autoencoder",
        "stride": 4 if space.effort in _LONG_EFFORTS else 8,
        "variance": 0.9,
        "autoencoder": "released",
    }


def _linear(backbone: BackboneSpace, model: Model, stride: int, variance: float) -> dict[str, Any]:
    deep = backbone.usable[-3:] if backbone.fixed else backbone.usable[2:3] or backbone.usable[-1:]
    return {"backbone": backbone.name, "levels": deep, "model": model, "stride": stride, "variance": variance}
