"""DeSTSeg as a detector."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from automl_ad.backbones.names import EMBEDDED
from automl_ad.data.image_set import ImageSet
from automl_ad.methods.base import MethodSettings
from automl_ad.methods.destseg.head import DeStSegHead, unit_vectors
from automl_ad.methods.destseg.rotation import Rotation, rotation_augment
from automl_ad.methods.destseg.training import (
    SegmentationData,
    StudentData,
    distillation_loss,
    on_grid,
    segmentation_loss,
)
from automl_ad.methods.features import FeatureDetector, suggest_backbone, suggest_levels
from automl_ad.methods.fit_memory import FitNeed, Placement, activation_bytes, store_half
from automl_ad.methods.pairs import Pairs, PairSource, pairs_bytes
from automl_ad.methods.space import BackboneSpace, Effort, Space
from automl_ad.methods.synthetic_training import FAMILIES, SyntheticTrainingSettings, suggest_strength
from automl_ad.training import Budget, Report, TrainingPlan, train
from automl_ad.tuned import DESTSEG_BIAS, DESTSEG_QUICK, DESTSEG_SHORT

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

Families = Literal["texture", "sdas", "both", "cutpaste"]
PUBLISHED_NETWORK = "resnet18"
"""Of teacher and student (Zhang et al. 2023, arXiv 2211.11317); stored products of larger ones take tens of GB."""
Optimiser = Literal["adam", "sgd"]

_PUBLISHED = {"student_rate": 0.4, "head_optimiser": "sgd", "head_rate": 0.1, "head_share": 0.1} | {
    "gamma": 4.0,
    "normal_share": 0.0,
}
_PLANS: dict[Effort, dict[str, Any]] = {
    "quick": DESTSEG_QUICK | DESTSEG_SHORT,
    "balanced": {"width": 32, "blocks": 1, "head_width": 64, "stride": 8}
    | {"pairs": 384, "student_steps": 300, "head_steps": 600, "batch": 8, **DESTSEG_SHORT},
    "thorough": {"width": 64, "blocks": 2, "head_width": 256, "stride": 4}
    | {"pairs": 512, "student_steps": 1_000, "head_steps": 2_500, "batch": 16, **_PUBLISHED},
    "faithful": {"width": 64, "blocks": 2, "head_width": 256, "stride": 4}
    | {"pairs": 2_048, "student_steps": 1_000, "head_steps": 4_000, "batch": 32, **_PUBLISHED},
}
_WEIGHT_DECAY = 1e-4
"""Weight decay of SGD, as published."""
_MIN_HEAD_STEPS = 100
"""Training steps below which the student alone detects better than the segmentation network (on the demo set)."""


class DeStSegSettings(SyntheticTrainingSettings):
    """Parameters of DeSTSeg.

    Attributes:
        width: Channels of the student's finest stage.
        blocks: Residual blocks a stage of the student's decoder.
        head_width: Channels of the segmentation network.
        stride: Smallest stride of the anomaly map in image pixels.
        rotation: Augmentation of normal images before anomalies are drawn on them.
        families: Anomalies to train on; for opacity and strength see ``SyntheticTrainingSettings``.
        gamma: Exponent of the focal loss.
        normal_share: Share of normal images in the training data of the segmentation network.
        pairs: Pairs drawn for a fit.
        student_steps, head_steps, batch: Training of the two phases; batch norm needs at least two images.
        student_rate: Learning rate of the student, for SGD on a loss that is summed over the batch.
        head_optimiser: Of the segmentation network: ``sgd`` as published, or ``adam`` at a rate that falls to zero.
        head_rate: Learning rate of its two residual blocks.
        head_share: Share of ``head_rate`` for the rest of that network.
    """

    width: int = Field(default=_PLANS["quick"]["width"], ge=4)
    blocks: int = Field(default=_PLANS["quick"]["blocks"], ge=1)
    head_width: int = Field(default=_PLANS["quick"]["head_width"], ge=4)
    stride: int = Field(default=_PLANS["quick"]["stride"], ge=1)
    rotation: Rotation = "none"
    families: Families = "texture"
    gamma: float = Field(default=4.0, ge=1, le=8)
    normal_share: float = Field(default=0.0, ge=0, le=0.5)
    pairs: int = Field(default=_PLANS["quick"]["pairs"], ge=1)
    student_steps: int = Field(default=_PLANS["quick"]["student_steps"], ge=1)
    head_steps: int = Field(default=_PLANS["quick"]["head_steps"], ge=1)
    batch: int = Field(default=_PLANS["quick"]["batch"], ge=2)
    student_rate: float = Field(default=_PLANS["quick"]["student_rate"], gt=0)
    head_optimiser: Optimiser = _PLANS["quick"]["head_optimiser"]
    head_rate: float = Field(default=_PLANS["quick"]["head_rate"], gt=0)
    head_share: float = Field(default=_PLANS["quick"]["head_share"], gt=0)

    @property
    def advantage(self) -> float:
        """See ``DetectorSettings.advantage``: training on one kind of synthetic anomaly helps with all others."""
        return 0.0 if self.backbone == EMBEDDED else DESTSEG_BIAS

    @property
    def student_plan(self) -> TrainingPlan:
        """Training of the student."""
        return TrainingPlan(self.student_steps, self.student_rate, "sgd", weight_decay=_WEIGHT_DECAY, reports=2)

    @property
    def head_plan(self) -> TrainingPlan:
        """Training of the segmentation network."""
        plan = TrainingPlan(self.head_steps, self.head_rate, shares={"judge.": self.head_share}, reports=4)
        if self.head_optimiser == "sgd":
            return replace(plan, optimiser="sgd", weight_decay=_WEIGHT_DECAY)
        return replace(plan, schedule="cosine")


class DeStSeg(FeatureDetector):
    """A denoising student, and a segmentation network on the differences between teacher and student."""

    name: ClassVar[str] = "destseg"
    learns_from: ClassVar[frozenset[str]] = frozenset({"texture", "sdas", "cutpaste"})
    settings_type: ClassVar[type[MethodSettings]] = DeStSegSettings
    uses_images: ClassVar[bool] = True
    settings: DeStSegSettings
    head: DeStSegHead

    def fit(self, normals: ImageSet, anomalies: PairSource | None, budget: Budget, report: Report) -> None:
        """See ``Detector.fit``."""
        anomalies, placement = self._require_source(anomalies), self._placement(normals)
        turns = self.settings.rotation
        augmentation = "" if turns == "none" else f"rotation {turns}"
        pairs = anomalies.pairs(normals, self.settings.pairs, augmentation, rotation_augment(turns))
        self.head, generator = self._new_head().to(self.extractor.device).eval(), self._generator()
        self._train_student(pairs, placement, generator, _half_of(budget), report)
        self._train_segmentation(pairs, placement, generator, budget, report)

    def _new_head(self, segments: bool = False) -> DeStSegHead:
        channels, strides = self.extractor.backbone.describe(self.settings.levels)
        chosen = self.settings
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            sizes = chosen.width, chosen.blocks, chosen.head_width, chosen.stride
            released = chosen.head_optimiser == "sgd"
            head = DeStSegHead(channels, strides, *sizes, segments=segments, released=released)
        return head.to(memory_format=torch.channels_last)  # a fifth faster on a CPU

    def fit_need(self, images: int, size: tuple[int, int]) -> FitNeed:
        """See ``Detector.fit_need``: the larger of the two phases, each with its network and the data of all pairs."""
        need, shapes = super().fit_need(images, size), self._level_shapes(size)
        with torch.device("meta"):
            head = self._new_head()

            def of_student(examples: int) -> Tensor:
                targets = [torch.empty(examples, *shape) for shape in shapes]
                seen = torch.empty(examples, 3, *size)
                return distillation_loss(head.student(seen, [shape[1:] for shape in shapes]), targets)

            one = [torch.empty(1, *shape) for shape in shapes]
            products = head.eval().products([*one, torch.empty(1, 3, *size)])
            head.train()

            def of_segmentation(examples: int) -> Tensor:
                seen = products.detach().expand(examples, -1, -1, -1).clone()
                return segmentation_loss(head.segmentation(seen), torch.empty(examples, *seen.shape[2:]), 4.0)

            example = max(activation_bytes(of_student), activation_bytes(of_segmentation))
        share = self.settings.normal_share
        first = self.settings.pairs * (3 * size[0] * size[1] + 2.0 * sum(math.prod(shape) for shape in shapes))
        second = self.settings.pairs / (1 - share) * (2.0 * products.numel() + 4.0 * size[0] * size[1])
        stored, host = max(first, second), pairs_bytes(self.settings.pairs, size)
        return need.with_training(head, example=example, batch=self.settings.batch, stored=stored, host=host)

    def _train_student(
        self, pairs: Pairs, placement: Placement, generator: torch.Generator, budget: Budget, report: Report
    ) -> None:
        """First phase: the student learns the teacher's features of normal images from anomalous ones."""
        data, student, parts = self._student_data(pairs, placement), self.head.student, placement.accumulate

        def loss() -> Tensor:
            images, targets = data.draw(self.settings.batch // parts, generator)
            return parts * distillation_loss(student(images, data.sizes), targets)  # a sum over the batch

        def on_progress(done: float) -> None:
            report(self._progress(done * self.settings.student_steps))

        train(
            student,
            loss,
            replace(self.settings.student_plan, accumulate=parts, half=self._half_precision),
            budget=budget,
            report=on_progress,
        )

    def _train_segmentation(
        self, pairs: Pairs, placement: Placement, generator: torch.Generator, budget: Budget, report: Report
    ) -> None:
        """Second phase: the segmentation network trains on products of the frozen teacher and student."""
        examples, network = self._segmentation_data(pairs, placement), self.head.segmentation
        parts = placement.accumulate

        def loss() -> Tensor:
            products, masks = examples.draw(self.settings.batch // parts, generator)
            return segmentation_loss(network(products), masks, self.settings.gamma)

        def on_progress(done: float) -> None:
            self._switch_after(done * self.settings.head_steps)
            report(self._progress(self.settings.student_steps + done * self.settings.head_steps))

        log = train(
            network,
            loss,
            replace(self.settings.head_plan, accumulate=parts, half=self._half_precision),
            budget=budget,
            report=on_progress,
        )
        self._switch_after(log.steps)

    def _switch_after(self, steps: float) -> None:
        """Uses the segmentation network for the map once it has had enough steps."""
        if steps >= min(_MIN_HEAD_STEPS, self.settings.head_steps):
            self.head.use_segmentation()

    def _progress(self, steps: float) -> float:
        return steps / (self.settings.student_steps + self.settings.head_steps)

    def _student_data(self, pairs: Pairs, placement: Placement) -> StudentData:
        batches = (
            [unit_vectors(level) for level in maps]
            for maps in self.extractor.batches(pairs.clean, self.settings.levels)
        )
        images = torch.from_numpy(pairs.anomalous.pixels).to(placement.store)
        return StudentData(images, store_half(batches, len(pairs), placement.store), placement.device)

    @torch.no_grad()
    def _segmentation_data(self, pairs: Pairs, placement: Placement) -> SegmentationData:
        """Products and masks of all pairs, and of normal images according to ``normal_share``."""
        share = self.settings.normal_share
        good = pairs.clean.take(np.arange(round(len(pairs) * share / (1 - share))))
        sets = [pairs.anomalous, good] if len(good) else [pairs.anomalous]
        seen = ([self.head.products(maps)] for images in sets for maps in self._batches(images))
        (products,) = store_half(seen, len(pairs) + len(good), placement.store)
        masks = torch.cat([pairs.masks, pairs.masks.new_zeros(len(good), *pairs.masks.shape[1:])])
        small = on_grid(masks.to(placement.store), (products.shape[2], products.shape[3]))
        return SegmentationData(products, small, placement.device)

    def _empty_head(self, state: Mapping[str, Tensor]) -> nn.Module:
        return self._new_head(bool(state["segments"]))

    @classmethod
    def suggest(cls, trial: BaseTrial, space: Space) -> dict[str, Any]:
        """See ``Detector.suggest``."""
        backbone = suggest_backbone(trial, space, cls.name)
        runs = [run for run in space.backbone(backbone).runs(4) if len(run) > 1] or [space.backbone(backbone).usable]
        plan = _PLANS[space.effort]
        settings: dict[str, Any] = {
            "backbone": backbone,
            "levels": suggest_levels(trial, cls.name, backbone, runs),
            "families": trial.suggest_categorical("destseg.families", _families(space)),
            "opacity": trial.suggest_categorical("destseg.opacity", [0.2, 0.5]),
            "rotation": trial.suggest_categorical("destseg.rotation", ["none", "slight", "full"]),
            "gamma": trial.suggest_categorical("destseg.gamma", [2.0, 4.0]),
            "normal_share": trial.suggest_categorical("destseg.normal_share", [0.0, 0.25, 0.5]),
            "student_rate": trial.suggest_categorical("destseg.student_rate", _rates(plan["student_rate"])),
            "head_rate": trial.suggest_categorical("destseg.head_rate", _rates(plan["head_rate"])),
        }
        if "sdas" in FAMILIES[settings["families"]]:
            settings["strength"] = suggest_strength(trial, cls.name)
        return plan | settings

    @classmethod
    def defaults(cls, space: Space) -> Sequence[dict[str, Any]]:
        """The published settings, on ResNet18 if available, reduced as the effort requires."""
        networks = [backbone for backbone in space.backbones if not backbone.fixed]
        networks.sort(key=lambda backbone: backbone.name != PUBLISHED_NETWORK)
        return [_PLANS[space.effort] | _published(backbone, space) for backbone in networks[:1]]


def _half_of(budget: Budget) -> Budget:
    """Half of the remaining time, so that some is left for the segmentation network."""
    return budget if budget.seconds is None else Budget(budget.left / 2)


def _families(space: Space) -> list[str]:
    """The values of ``families`` available in the space; ``cutpaste`` always is."""
    return [name for name, parts in FAMILIES.items() if set(parts) <= {*space.sources, "cutpaste"}]


def _rates(usual: float) -> list[float]:
    """Learning rates to search: the usual one, which is rather high, a half and a quarter of it."""
    return [usual / 4, usual / 2, usual]


def _published(backbone: BackboneSpace, space: Space) -> dict[str, Any]:
    return {
        "backbone": backbone.name,
        "levels": backbone.usable[:3],
        "families": _families(space)[0],
        "opacity": 0.2,
        "rotation": "none",
    }
