"""RealNet as a detector."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from automl_ad.data.image_set import ImageSet
from automl_ad.methods.base import MethodSettings
from automl_ad.methods.features import FeatureDetector, suggest_backbone, suggest_families, suggest_levels
from automl_ad.methods.fit_memory import FitNeed, Placement, activation_bytes, store_half
from automl_ad.methods.pairs import Pairs, PairSource, pairs_bytes
from automl_ad.methods.realnet.head import Network, RealNetHead
from automl_ad.methods.realnet.selection import ChannelRanking, Mode
from automl_ad.methods.realnet.training import Batch, FeaturePairs, joint_loss
from automl_ad.methods.space import BackboneSpace, Effort, Space
from automl_ad.methods.synthetic_training import PUBLISHED_STRENGTH, SyntheticTrainingSettings, suggest_strength
from automl_ad.training import Budget, Report, TrainingPlan, train
from automl_ad.tuned import REALNET_QUICK

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

Families = Literal["texture", "sdas", "both"]
Selection = Literal["published", "shares"]

_PLANS: dict[Effort, dict[str, Any]] = {
    "quick": REALNET_QUICK,
    "balanced": {"network": "light", "pairs": 384, "steps": 1_000, "batch": 8, "rate": 1e-3},
    "thorough": {"network": "unet", "pairs": 512, "steps": 4_000, "batch": 16, "rate": 3e-4},
    "faithful": {"network": "unet", "pairs": 2_048, "steps": 14_000, "batch": 16, "rate": 1e-4},
}
"""``faithful``: 1000 passes over about 220 images in batches of 16."""
_SHORT_EFFORTS: tuple[Effort, ...] = ("quick", "balanced")
PUBLISHED_SELECTION = (256, 512, 512, 256)
"""m_k of WideResNet50's four blocks in the released code; no share and taper give it."""
_RANKED_AT_ONCE = 16
"""Pairs over which AFS scales the change of a channel, as in the released code."""
_STEP = {"light": 16, "unet": 64}
"""Channel counts are multiples of this: the U-Net's attention has heads of 64 channels."""


class RealNetSettings(SyntheticTrainingSettings):
    """Parameters of RealNet.

    Attributes:
        selection: Whether so many channels are selected from each level as in the released code, or by shares.
        share: Share of the channels selected from the finest level.
        taper: Factor on that share for each coarser level.
        kept: Share of the residual channels that enter the discriminator, r / m'.
        mode: Statistic by which these are ranked.
        families: Anomalies to train on; for opacity and strength see ``SyntheticTrainingSettings``.
        normal_share: Share of normal images in training batches.
        network: Reconstruction network of a level.
        pairs, steps, batch, rate: Training.
    """

    selection: Selection = "shares"
    share: float = Field(default=1.0, gt=0, le=1)
    taper: float = Field(default=0.5, gt=0, le=1)
    kept: float = Field(default=1 / 3, gt=0, le=1)
    mode: Mode = "both"
    families: Families = "texture"
    normal_share: float = Field(default=0.5, ge=0, lt=1)
    network: Network = _PLANS["quick"]["network"]
    pairs: int = _PLANS["quick"]["pairs"]
    steps: int = _PLANS["quick"]["steps"]
    batch: int = _PLANS["quick"]["batch"]
    rate: float = _PLANS["quick"]["rate"]

    def channels(self, available: Sequence[int]) -> list[int]:
        """m_k: the number of channels selected from each level, the finest level first."""
        step = _STEP[self.network]
        wanted: list[float] = [count * self.share * self.taper**place for place, count in enumerate(available)]
        if self.selection == "published":
            wanted = list(map(min, PUBLISHED_SELECTION, available))
        most = [step * (count // step) or count for count in available]
        return [min(top, max(step, step * round(want / step))) for top, want in zip(most, wanted, strict=True)]


class RealNet(FeatureDetector):
    """Reconstructs selected features and classifies the residuals; trains on synthetic anomalies."""

    name: ClassVar[str] = "realnet"
    learns_from: ClassVar[frozenset[str]] = frozenset({"texture", "sdas"})
    settings_type: ClassVar[type[MethodSettings]] = RealNetSettings
    settings: RealNetSettings
    head: RealNetHead

    @property
    def selects_channels(self) -> bool:
        """See ``Detector.selects_channels``: residual channels are selected for each image."""
        return True

    def fit(self, normals: ImageSet, anomalies: PairSource | None, budget: Budget, report: Report) -> None:
        """See ``Detector.fit``."""
        anomalies, placement = self._require_source(anomalies), self._placement(normals)
        pairs = anomalies.pairs(normals, self.settings.pairs)
        self.head = self._new_head(self._select(pairs)).to(self.extractor.device)
        features = self._feature_pairs(pairs, placement)
        head, generator = self.head, self._generator()

        def loss() -> Tensor:
            part = self.settings.batch // placement.accumulate
            return joint_loss(head, features.draw(part, self.settings.normal_share, generator))

        plan = TrainingPlan(
            self.settings.steps, self.settings.rate, accumulate=placement.accumulate, half=self._half_precision
        )
        train(head, loss, plan, budget=budget, report=report)

    def _new_head(self, selected: Sequence[Tensor]) -> RealNetHead:
        total = sum(len(channels) for channels in selected)
        kept = min(total - total % 2, max(2, 2 * round(total * self.settings.kept / 2)))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return RealNetHead(selected, kept, self.settings.mode, self.settings.network)

    def _select(self, pairs: Pairs) -> list[Tensor]:
        """The selected channels of every level."""
        names = [channel_order_key(self.extractor.backbone.weights_tag, level) for level in self.settings.levels]
        if not pairs.derived.keys() >= set(names):
            pairs.derived.update(zip(names, self._rank(pairs), strict=True))
        orders = [pairs.derived[name] for name in names]
        counts = self.settings.channels([len(order) for order in orders])
        return [order[:count] for order, count in zip(orders, counts, strict=True)]

    def _rank(self, pairs: Pairs) -> list[Tensor]:
        """All channels of every level, the best anomaly indicators first."""
        rankings = [ChannelRanking() for _ in self.settings.levels]
        for clean, anomalous, masks in self._feature_batches(pairs):
            for ranking, good, bad in zip(rankings, clean, anomalous, strict=True):
                ranking.add(good, bad, masks)
        return [ranking.order() for ranking in rankings]

    def fit_need(self, images: int, size: tuple[int, int]) -> FitNeed:
        """See ``Detector.fit_need``: selected features of all pairs twice, and the networks in training."""
        need, shapes = super().fit_need(images, size), self._level_shapes(size)
        counts = self.settings.channels([shape[0] for shape in shapes])
        sizes = [(count, *shape[1:]) for count, shape in zip(counts, shapes, strict=True)]
        with torch.device("meta"):
            head = self._new_head([torch.arange(count) for count in counts])

            def loss(examples: int) -> Tensor:
                levels = [torch.empty(examples, *shape) for shape in sizes]
                return joint_loss(head, Batch(levels, levels, torch.empty(examples, *size, dtype=torch.bool)))

            example = activation_bytes(loss)
        pair = 2 * 2.0 * sum(math.prod(shape) for shape in sizes) + size[0] * size[1]
        stored, host = self.settings.pairs * pair, pairs_bytes(self.settings.pairs, size)
        return need.with_training(head, example=example, batch=self.settings.batch, stored=stored, host=host)

    def _feature_pairs(self, pairs: Pairs, placement: Placement) -> FeaturePairs:
        """The selected features of all pairs, in half precision."""
        clean, anomalous = (
            store_half(map(self.head.features, self._batches(images)), len(images), placement.store)
            for images in (pairs.clean, pairs.anomalous)
        )
        return FeaturePairs(clean, anomalous, pairs.masks.to(placement.store), placement.device)

    def _feature_batches(self, pairs: Pairs) -> Iterator[tuple[list[Tensor], list[Tensor], Tensor]]:
        """Features of the normal and the anomalous images, and the masks, in batches."""
        masks = torch.split(pairs.masks.to(self.extractor.device), _RANKED_AT_ONCE)
        features = (self._batches(images, _RANKED_AT_ONCE) for images in (pairs.clean, pairs.anomalous))
        return zip(*features, masks, strict=True)

    def _empty_head(self, state: Mapping[str, Tensor]) -> nn.Module:
        selected = [state[f"selected_{place}"] for place in range(len(self.settings.levels))]
        kept, mode, network = (int(value) for value in state["plan"])
        return RealNetHead(selected, kept, RealNetHead.MODES[mode], RealNetHead.NETWORKS[network])

    @classmethod
    def suggest(cls, trial: BaseTrial, space: Space) -> dict[str, Any]:
        """See ``Detector.suggest``."""
        backbone = suggest_backbone(trial, space, cls.name)
        plan = _PLANS[space.effort]
        settings: dict[str, Any] = plan | {
            "backbone": backbone,
            "levels": suggest_levels(trial, cls.name, backbone, _runs(space.backbone(backbone), space.effort)),
            "share": trial.suggest_categorical("realnet.share", [0.25, 0.5, 1.0]),
            "taper": trial.suggest_categorical("realnet.taper", [0.5, 1.0]),
            "selection": _suggest_selection(trial, space),
            "kept": trial.suggest_categorical("realnet.kept", [0.125, 1 / 3, 0.66]),
            "mode": trial.suggest_categorical("realnet.mode", ["max", "mean", "both"]),
            "families": suggest_families(trial, cls.name, space),
            "opacity": trial.suggest_categorical("realnet.opacity", [0.2, 0.5]),
            "rate": trial.suggest_categorical("realnet.rate", [plan["rate"] / 3, plan["rate"]]),
        }
        if settings["families"] != "texture":
            settings["strength"] = suggest_strength(trial, cls.name)
        return settings

    @classmethod
    def defaults(cls, space: Space) -> Sequence[dict[str, Any]]:
        """The published settings, reduced as the effort requires."""
        networks = [backbone for backbone in space.backbones if not backbone.fixed]
        return [_PLANS[space.effort] | _published(backbone, space) for backbone in networks[:1]]


def channel_order_key(tag: str, level: int) -> str:
    """Key in ``Pairs.derived`` of the ranking of a level's channels, int64 [C]."""
    return f"order of channels/{tag}/{level}"


def _runs(backbone: BackboneSpace, effort: Effort) -> list[tuple[int, ...]]:
    """Levels to combine; short efforts leave out the finest, whose grid would make training four times as slow."""
    runs = [run for run in backbone.runs(4) if len(run) > 1]
    if effort in _SHORT_EFFORTS:
        runs = [run for run in runs if backbone.usable[0] not in run]
    return runs or [backbone.middle]


def _suggest_selection(trial: BaseTrial, space: Space) -> Selection:
    """The released numbers are those of a large network, and give reconstruction networks of 518 million weights."""
    if space.effort != "faithful":
        return "shares"
    return cast("Selection", trial.suggest_categorical("realnet.selection", ["published", "shares"]))


def _published(backbone: BackboneSpace, space: Space) -> dict[str, Any]:
    """The released settings; what it learns from is ``sdas`` where effort is faithful and there is a model."""
    effort, faithful = space.effort, space.effort == "faithful"
    anomalies: dict[str, Any] = {"families": "texture", "opacity": 0.2}
    if faithful and "sdas" in space.sources:
        anomalies = {"families": "sdas", "opacity": 0.5, "strength": PUBLISHED_STRENGTH}
    return anomalies | {
        "backbone": backbone.name,
        "levels": _runs(backbone, effort)[0] if effort in _SHORT_EFFORTS else backbone.usable[:4],
        "selection": "published" if faithful else "shares",
        "share": 1.0,
        "taper": 0.5,
        "kept": 1 / 3,
        "mode": "both",
    }
