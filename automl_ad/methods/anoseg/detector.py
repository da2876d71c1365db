"""AnoSeg as a detector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from automl_ad.backbones.none import NO_BACKBONE
from automl_ad.data.image_set import ImageSet
from automl_ad.methods.anoseg.losses import Segmentation, Weights, joint_loss
from automl_ad.methods.anoseg.networks import PUBLISHED_WIDTH, STRIDE, AnoSegHead, Score
from automl_ad.methods.anoseg.samples import Samples
from automl_ad.methods.base import MethodSettings
from automl_ad.methods.features import FeatureDetector
from automl_ad.methods.pairs import PairSource
from automl_ad.methods.space import Effort, Space
from automl_ad.synthesis.sources import Recipe
from automl_ad.training import Budget, Report, TrainingPlan, train

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

Families = Literal["cutpaste", "both"]

MOMENTUM = 0.5
"""First beta of Adam, as usual for networks that play against each other."""
_FAMILIES: dict[Families, tuple[str, ...]] = {"cutpaste": ("cutpaste",), "both": ("cutpaste", "texture")}
_PLANS: dict[Effort, dict[str, Any]] = {
    "quick": {"width": 16, "size": 128, "stride": 8}
    | {"pairs": 384, "steps": 600, "warmup": 100, "batch": 8, "rate": 5e-4},
    "balanced": {"width": 32, "size": 128, "stride": 8}
    | {"pairs": 768, "steps": 1_200, "warmup": 200, "batch": 8, "rate": 5e-4},
    "thorough": {"width": 64, "size": 256, "stride": 16}
    | {"pairs": 1_024, "steps": 8_000, "warmup": 500, "batch": 16, "rate": 2e-4},
    "faithful": {"width": PUBLISHED_WIDTH, "size": 256, "stride": STRIDE}
    | {"pairs": 4_096, "steps": 30_000, "warmup": 500, "batch": 16, "rate": 2e-4},
}
"""The paper gives the networks and the size, but neither its steps nor its rate.

Small images need a fine encoding: of 128 pixels at the published stride of 32, 4 x 4 vectors cannot tell where a defect
is (image AUROC 0.56 on real tiles; at a stride of 8, 0.69).
"""
_SETTLED_ON = 64
"""Good images whose brightness and contrast the encoder is set to."""
_PATIENT: tuple[Effort, ...] = ("thorough", "faithful")
"""Efforts that can afford to try the published segmentation loss, which shorter trainings never get anywhere with."""


class AnoSegSettings(MethodSettings):
    """Parameters of AnoSeg.

    Attributes:
        size: Side in pixels of the square that images are brought to.
        stride: Pixels of that square a step of the encoding, 32 as published; less keeps more of where things are.
        width: Channels of the decoders at the full size, 128 as published; all other channels follow.
        coordinates: Whether the encoder is told where each pixel lies.
        segmentation: How masks are compared.
        reconstruction: Weight of the rebuilt image.
        adversarial: Weight of the discriminator's opinion; at 0 there is none.
        families: What anomalies it learns from.
        opacity: Lowest opacity of these.
        normal_share: Share of the training images that stay good.
        score: ``map``, or ``gan`` to add how far an image as a whole is off, which takes a discriminator.
        warmup: Steps before the discriminator joins in.
        pairs, steps, batch, rate: Training.

    Raises:
        ValueError: A score that takes a discriminator where there is none.
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
    def _judged(self) -> AnoSegSettings:
        if self.score == "gan" and not self.adversarial:
            raise ValueError("the score 'gan' takes a discriminator: adversarial must be above 0")
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
    """Predicts the mask of an image from the image alone, without anything pretrained; learns from CutPaste."""

    name: ClassVar[str] = "anoseg"
    learns_from: ClassVar[frozenset[str]] = frozenset({"cutpaste", "texture"})
    settings_type: ClassVar[type[MethodSettings]] = AnoSegSettings
    sees_images: ClassVar[bool] = True
    settings: AnoSegSettings
    head: AnoSegHead

    def fit(self, normals: ImageSet, anomalies: PairSource | None, budget: Budget, report: Report) -> None:
        """See ``Detector.fit``."""
        anomalies = self._needed(anomalies)
        made, device = self.settings, self.extractor.device
        samples = Samples.of(anomalies.pairs(normals, made.pairs), made.size, device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            head = self._new_head(judged=made.adversarial > 0)
        self.head = head.to(device)
        head.generator.settle(samples.clean[:: max(1, len(samples.clean) // _SETTLED_ON)].float() / 255)
        weights = Weights(made.segmentation, made.reconstruction, made.adversarial)
        generator, steps = self._generator(), count()

        def loss() -> Tensor:
            images, normal = samples.draw(made.batch, made.normal_share, generator)
            judge = head.discriminator if next(steps) >= made.warmup else None
            return joint_loss(head.generator, judge, images, normal, weights)

        plan = TrainingPlan(made.steps, made.rate, momentum=MOMENTUM, schedule="cosine", half=self._halves)
        train(head, loss, plan, budget=budget, report=report)
        if made.score == "map":
            head.discriminator = None

    def _new_head(self, judged: bool) -> AnoSegHead:
        made = self.settings
        return AnoSegHead(made.size, made.width, made.coordinates, judged, made.score, made.stride)

    def _empty_head(self, state: Mapping[str, Tensor]) -> nn.Module:
        return self._new_head(judged=self.settings.score == "gan")

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
        if space.effort in _PATIENT:
            settings["segmentation"] = trial.suggest_categorical("anoseg.segmentation", ["l1", "balanced"])
        if settings["adversarial"]:
            settings["score"] = trial.suggest_categorical("anoseg.score", ["map", "gan"])
        return settings

    @classmethod
    def defaults(cls, space: Space) -> Sequence[dict[str, Any]]:
        """The published settings, as far as the effort carries them."""
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
