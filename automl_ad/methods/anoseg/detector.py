"""AnoSeg as a detector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from automl_ad.backbones.base import NO_BACKBONE
from automl_ad.data.image_set import ImageSet
from automl_ad.methods.anoseg.losses import LossWeights, Segmentation, joint_loss
from automl_ad.methods.anoseg.networks import PUBLISHED_WIDTH, STRIDE, AnoSegHead, Score
from automl_ad.methods.anoseg.samples import Samples
from automl_ad.methods.base import MethodSettings
from automl_ad.methods.features import FeatureDetector
from automl_ad.methods.fit_memory import FitNeed, activation_bytes
from automl_ad.methods.pairs import PairSource, pairs_bytes
from automl_ad.methods.space import Effort, Space
from automl_ad.synthesis.sources import Recipe
from automl_ad.training import Budget, Report, TrainingPlan, train
from automl_ad.tuned import ANOSEG_QUICK

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

Families = Literal["cutpaste", "both"]

MOMENTUM = 0.5
"""First beta of Adam, as usual for adversarial training."""
_FAMILIES: dict[Families, tuple[str, ...]] = {"cutpaste": ("cutpaste",), "both": ("cutpaste", "texture")}
_PLANS: dict[Effort, dict[str, Any]] = {
    "quick": ANOSEG_QUICK,
    "balanced": {"width": 32, "size": 128, "stride": 8}
    | {"pairs": 768, "steps": 1_200, "warmup": 200, "batch": 8, "rate": 5e-4},
    "thorough": {"width": 64, "size": 256, "stride": 16}
    | {"pairs": 1_024, "steps": 8_000, "warmup": 500, "batch": 16, "rate": 2e-4},
    "faithful": {"width": PUBLISHED_WIDTH, "size": 256, "stride": STRIDE}
    | {"pairs": 4_096, "steps": 30_000, "warmup": 500, "batch": 16, "rate": 2e-4},
}
"""The paper gives the networks and the image size, but neither the number of steps nor the learning rate."""
_NORMALISATION_IMAGES = 64
"""Normal images from which the input normalisation is computed."""
_LONG_EFFORTS: tuple[Effort, ...] = ("thorough", "faithful")
"""Efforts whose training is long enough for the published segmentation loss."""


class AnoSegSettings(MethodSettings):
    """Parameters of AnoSeg.

    Attributes:
        size: Side in pixels of the square to which images are resized.
        stride: Total stride of the encoder, 32 as published; smaller values localise better.
        width: Channels of the decoders at full resolution, 128 as published; all other widths are multiples of it.
        coordinates: Whether the encoder gets pixel coordinates as additional input channels.
        segmentation: Loss of the predicted mask.
        reconstruction: Weight of the reconstruction loss.
        adversarial: Weight of the adversarial loss; 0 for no discriminator.
        families: Synthetic anomalies to train on.
        opacity: Their lowest opacity.
        normal_share: Share of normal images in training batches.
        score: ``map``, or ``gan`` to add an image-level score, which needs a discriminator.
        warmup: Steps before the discriminator is used.
        pairs, steps, batch, rate: Training.

    Raises:
        ValueError: ``score`` needs a discriminator but ``adversarial`` is 0.
    """

    backbone: str = NO_BACKBONE
    levels: tuple[int, ...] = ()
    size: int = Field(default=_PLANS["quick"]["size"], ge=2 * STRIDE, le=1024, multiple_of=STRIDE)
    stride: Literal[8, 16, 32] = _PLANS["quick"]["stride"]
    width: int = Field(default=_PLANS["quick"]["width"], ge=8, le=512, multiple_of=2)
    coordinates: bool = True
    segmentation: Segmentation = "balanced"
    reconstruction: float = Field(default=1.0, ge=0)
    adversarial: float = Field(default=0.05, ge=0)
    families: Families = "cutpaste"
    opacity: float = Field(default=1.0, gt=0, le=1)
    normal_share: float = Field(default=0.5, ge=0, lt=1)
    score: Score = "map"
    warmup: int = Field(default=_PLANS["quick"]["warmup"], ge=0)
    pairs: int = Field(default=_PLANS["quick"]["pairs"], ge=1)
    steps: int = Field(default=_PLANS["quick"]["steps"], ge=1)
    batch: int = Field(default=_PLANS["quick"]["batch"], ge=1)
    rate: float = Field(default=_PLANS["quick"]["rate"], gt=0)

    @model_validator(mode="after")
    def _require_discriminator(self) -> AnoSegSettings:
        if self.score == "gan" and not self.adversarial:
            raise ValueError("the score 'gan' needs a discriminator: adversarial must be above 0")
        return self

    @property
    def trains(self) -> bool:
        """See ``MethodSettings.trains``."""
        return True

    @property
    def recipe(self) -> Recipe:
        """See ``MethodSettings.recipe``."""
        return Recipe(_FAMILIES[self.families], (self.opacity, 1.0))


class AnoSeg(FeatureDetector):
    """Predicts the mask of an image without any pretrained network; trains on CutPaste anomalies."""

    name: ClassVar[str] = "anoseg"
    learns_from: ClassVar[frozenset[str]] = frozenset({"cutpaste", "texture"})
    settings_type: ClassVar[type[MethodSettings]] = AnoSegSettings
    uses_images: ClassVar[bool] = True
    settings: AnoSegSettings
    head: AnoSegHead

    def fit(self, normals: ImageSet, anomalies: PairSource | None, budget: Budget, report: Report) -> None:
        """See ``Detector.fit``."""
        anomalies = self._require_source(anomalies)
        settings, placement = self.settings, self._placement(normals)
        samples = Samples.of(anomalies.pairs(normals, settings.pairs), settings.size, placement)
        self.head = head = self._seeded_head().to(placement.device)
        shown = samples.clean[:: max(1, len(samples.clean) // _NORMALISATION_IMAGES)]
        head.generator.fit_normalisation(shown.to(placement.device).float() / 255)
        weights = LossWeights(settings.segmentation, settings.reconstruction, settings.adversarial)
        generator, steps = self._generator(), count()

        def loss() -> Tensor:
            images, normal = samples.draw(settings.batch // placement.accumulate, settings.normal_share, generator)
            discriminator = head.discriminator if next(steps) >= settings.warmup * placement.accumulate else None
            return joint_loss(head.generator, discriminator, images, normal, weights)

        plan = TrainingPlan(settings.steps, settings.rate, momentum=MOMENTUM, schedule="cosine")
        plan = replace(plan, accumulate=placement.accumulate, half=self._half_precision)
        train(head, loss, plan, budget=budget, report=report)
        if settings.score == "map":
            head.discriminator = None

    def fit_need(self, images: int, size: tuple[int, int]) -> FitNeed:
        """See ``Detector.fit_need``: all pairs at the input size, and both networks in training."""
        need, settings = super().fit_need(images, size), self.settings
        weights = LossWeights(settings.segmentation, settings.reconstruction, settings.adversarial)
        with torch.device("meta"):
            head = self._seeded_head()

            def loss(examples: int) -> Tensor:
                shown, normal = (torch.empty(examples, count, settings.size, settings.size) for count in (3, 1))
                return joint_loss(head.generator, head.discriminator, shown, normal, weights)

            example = activation_bytes(loss)
        stored, host = 7.0 * settings.pairs * settings.size**2, pairs_bytes(settings.pairs, size)
        return need.with_training(head, example=example, batch=settings.batch, stored=stored, host=host)

    def _seeded_head(self) -> AnoSegHead:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return self._new_head(with_discriminator=self.settings.adversarial > 0)

    def _new_head(self, with_discriminator: bool) -> AnoSegHead:
        settings = self.settings
        return AnoSegHead(
            settings.size, settings.width, settings.coordinates, with_discriminator, settings.score, settings.stride
        )

    def _empty_head(self, state: Mapping[str, Tensor]) -> nn.Module:
        return self._new_head(with_discriminator=self.settings.score == "gan")

    @classmethod
    def suggest(cls, trial: BaseTrial, space: Space) -> dict[str, Any]:
        """See ``Detector.suggest``."""
        plan = _PLANS[space.effort]
        settings: dict[str, Any] = plan | {
            "backbone": NO_BACKBONE,
            "levels": (),
            "coordinates": trial.suggest_categorical("anoseg.coordinates", [True, False]),
            "segmentation": "balanced",
            "reconstruction": trial.suggest_categorical("anoseg.reconstruction", [0.1, 1.0, 2.0]),
            "adversarial": trial.suggest_categorical("anoseg.adversarial", [0.0, 0.01, 0.05, 0.1]),
            "families": trial.suggest_categorical("anoseg.families", ["cutpaste", "both"]),
            "opacity": trial.suggest_categorical("anoseg.opacity", [0.2, 0.5, 1.0]),
            "score": "map",
            "rate": trial.suggest_categorical("anoseg.rate", [plan["rate"] / 3, plan["rate"]]),
        }
        if space.effort in _LONG_EFFORTS:
            settings["segmentation"] = trial.suggest_categorical("anoseg.segmentation", ["l1", "balanced"])
        if settings["adversarial"]:
            settings["score"] = trial.suggest_categorical("anoseg.score", ["map", "gan"])
        return settings

    @classmethod
    def defaults(cls, space: Space) -> Sequence[dict[str, Any]]:
        """The published settings, reduced as the effort requires."""
        published = {
            "backbone": NO_BACKBONE,
            "levels": (),
            "coordinates": True,
            "segmentation": "l1" if space.effort == "faithful" else "balanced",
            "reconstruction": 1.0,
            "adversarial": 0.05,
            "families": "cutpaste",
            "opacity": 1.0,
            "score": "map",
        }
        return [_PLANS[space.effort] | published]
