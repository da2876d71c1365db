"""DFR as a detector: regional features, then one of three ways to rebuild them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from automl_ad.data.image_set import ImageSet
from automl_ad.methods.base import AnomalySource, MethodSettings
from automl_ad.methods.dfr.autoencoder import AutoencoderHead
from automl_ad.methods.dfr.pca import PcaHead, as_vectors, components_of_images, components_of_positions
from automl_ad.methods.features import (
    Align,
    FeatureDetector,
    align,
    suggest_backbone,
    suggest_levels,
)
from automl_ad.methods.registry import register
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
_BLOCK = 16_384
"""Vectors whose products are summed at once; bounds the memory of the fit."""


class DfrSettings(MethodSettings):
    """Parameters of DFR.

    Attributes:
        model: What rebuilds the features: ``autoencoder`` (the paper), ``pca`` (its linear form, one vector a
            position) or ``image_pca`` (one vector an image, so that the layout of the part is modelled too).
        stride: Image pixels a step of the grid on which levels are stacked.
        variance: Share of the normals' variance that sets the latent size.
        mode: How coarser levels are brought to the grid; the paper's is nearest.
        steps, batch, rate, vectors: Training of the autoencoder; ignored by the linear forms.
    """

    model: Model = "autoencoder"
    stride: int = 4
    variance: float = Field(default=0.9, gt=0, lt=1)
    mode: Align = "bilinear"
    steps: int = _PLANS["quick"]["steps"]
    batch: int = _PLANS["quick"]["batch"]
    rate: float = _PLANS["quick"]["rate"]
    vectors: int = _PLANS["quick"]["vectors"]

    @property
    def trains(self) -> bool:
        """See ``MethodSettings.trains``: the linear forms are computed in closed form."""
        return self.model == "autoencoder"


@register
class Dfr(FeatureDetector):
    """Reconstruction error of regional features; its linear forms cost seconds."""

    name: ClassVar[str] = "dfr"
    settings_type: ClassVar[type[MethodSettings]] = DfrSettings
    settings: DfrSettings
    head: nn.Module

    def fit(self, normals: ImageSet, anomalies: AnomalySource | None, budget: Budget, report: Report) -> None:
        """See ``Detector.fit``."""
        del anomalies
        size = self._grid(normals.size)
        if self.settings.model == "autoencoder":
            self._fit_autoencoder(normals, size, budget, report)
        else:
            self.head = self._fit_pca(normals, size).to(self.extractor.device)
            report(1.0)

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

    def _fit_autoencoder(self, normals: ImageSet, size: tuple[int, int], budget: Budget, report: Report) -> None:
        generator = self._generator()
        vectors = self._sample(normals, size, generator)
        mean, components = components_of_positions(torch.split(vectors, _BLOCK), self.settings.variance)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            head = AutoencoderHead(vectors.shape[1], components.shape[1], torch.tensor(size), self.settings.mode)
        head.start_at(mean)
        self.head = head.to(self.extractor.device)
        plan = TrainingPlan(steps=self.settings.steps, rate=self.settings.rate)
        train(head, lambda: head.loss(vectors, self.settings.batch, generator), plan, budget=budget, report=report)

    def _sample(self, normals: ImageSet, size: tuple[int, int], generator: torch.Generator) -> Tensor:
        """A random share of every image's vectors, float32 [about ``settings.vectors``, D]."""
        share = max(1, min(size[0] * size[1], self.settings.vectors // len(normals)))
        parts: list[Tensor] = []
        for aligned in self._aligned(normals, size):
            images = torch.split(as_vectors(aligned, whole=False), size[0] * size[1])
            parts.extend(
                image[torch.randperm(len(image), generator=generator)[:share].to(image.device)] for image in images
            )
        return torch.cat(parts)

    def _empty_head(self, state: Mapping[str, Tensor]) -> nn.Module:
        if self.settings.model == "autoencoder":
            channels = state["decoder.6.weight"].shape[0]
            return AutoencoderHead(channels, int(state["latent"]), state["grid"], self.settings.mode)
        whole = self.settings.model == "image_pca"
        return PcaHead(state["mean"], state["components"], state["grid"], whole, self.settings.mode)

    @classmethod
    def suggest(cls, trial: BaseTrial, space: Space) -> dict[str, Any]:
        """See ``Detector.suggest``."""
        backbone = suggest_backbone(trial, space, cls.name)
        model = str(trial.suggest_categorical("dfr.model", ["image_pca", "pca", "autoencoder"]))
        levels = suggest_levels(trial, cls.name, backbone, space.backbone(backbone).runs())
        settings: dict[str, Any] = {"backbone": backbone, "levels": levels, "model": model}
        settings["variance"] = trial.suggest_categorical("dfr.variance", [0.8, 0.9, 0.95, 0.98])
        strides = [16, 32] if model == "image_pca" else [8, 16] if space.effort == "quick" else [4, 8, 16]
        settings["stride"] = trial.suggest_categorical(f"dfr.stride.{model}", strides)
        return settings | (_PLANS[space.effort] if model == "autoencoder" else {})

    @classmethod
    def defaults(cls, space: Space) -> Sequence[dict[str, Any]]:
        """The linear forms at their best-known settings, then the paper's autoencoder."""
        images = [_linear(b, "image_pca", 16 if b.fixed else 32, 0.95) for b in space.backbones]
        positions = [_linear(b, "pca", 16, 0.95) for b in space.backbones]
        first = next(
            (b for b in space.backbones if b.name.startswith("vgg")), space.backbones[0]
        )  # the paper's is VGG19
        stride = 4 if space.effort in ("thorough", "faithful") else 8
        trained = {
            "backbone": first.name,
            "levels": first.usable[:3],
            "model": "autoencoder",
            "stride": stride,
            "variance": 0.9,
        }
        return [*images, *positions, trained | _PLANS[space.effort]]


def _linear(backbone: BackboneSpace, model: Model, stride: int, variance: float) -> dict[str, Any]:
    deep = backbone.usable[-3:] if backbone.fixed else backbone.usable[2:3] or backbone.usable[-1:]
    return {"backbone": backbone.name, "levels": deep, "model": model, "stride": stride, "variance": variance}
