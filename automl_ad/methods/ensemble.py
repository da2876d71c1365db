"""Ensembles: the mean of several detectors' standardised anomaly maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationInfo, field_validator, model_validator
from torch import Tensor, nn
from torch.nn import functional

from automl_ad.backbones.base import BACKBONE_JOINT, Backbone
from automl_ad.data.image_set import ImageSet
from automl_ad.methods.base import Detector, DetectorSettings, Extractors, FeatureSpec, MethodSettings
from automl_ad.methods.features import FeatureDetector
from automl_ad.methods.names import ENSEMBLE
from automl_ad.methods.pairs import PairSource
from automl_ad.methods.registry import detector_class
from automl_ad.training import Budget, Report


class Member(BaseModel):
    """One detector of an ensemble, with the location and scale used to standardise its maps.

    Attributes:
        trial: Number of its trial.
        method: Its method.
        settings: Parameters of the method, as JSON-able values.
        seed: Drives everything random in its fit; with the trial's seed, it reproduces the trial's detector.
        centre: Centre of its scores on normal images that it was not fitted to.
        spread: Spread of these scores.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    trial: int
    method: str
    settings: dict[str, Any]
    seed: int
    centre: FiniteFloat
    spread: FiniteFloat = Field(gt=0)

    @field_validator("settings")
    @classmethod
    def _complete(cls, values: dict[str, Any], others: ValidationInfo) -> dict[str, Any]:
        """Fills in defaults, so that equal members compare equal."""
        return detector_class(others.data["method"]).settings_type(**values).model_dump(mode="json")

    @property
    def parameters(self) -> MethodSettings:
        """Its settings as the typed model."""
        return detector_class(self.method).settings_type(**self.settings)

    def build(self, extractors: Extractors) -> FeatureDetector:
        """Its unfitted detector."""
        return detector_class(self.method).build(self.parameters, extractors, self.seed)


class EnsembleSettings(DetectorSettings):
    """Parameters of an ensemble.

    Attributes:
        members: At least two.
        backbone: Names of the members' backbones, joined, for tables; derived from the members.
    """

    members: tuple[Member, ...] = Field(min_length=2)
    backbone: str = ""

    @model_validator(mode="before")
    @classmethod
    def _name_backbones(cls, values: Any) -> Any:
        """Derives ``backbone`` from the members and ignores any given value."""
        members = [Member.model_validate(member) for member in values.get("members", ())]
        names = dict.fromkeys(member.parameters.backbone for member in members)
        return {**values, "backbone": BACKBONE_JOINT.join(names)}

    @property
    def learns_from(self) -> frozenset[str]:
        """See ``DetectorSettings.learns_from``: the union over the members."""
        return frozenset[str]().union(*(member.parameters.learns_from for member in self.members))

    @property
    def advantage(self) -> float:
        """See ``DetectorSettings.advantage``: the mean over the members, which have equal weights."""
        return sum(member.parameters.advantage for member in self.members) / len(self.members)

    @property
    def trains(self) -> bool:
        """See ``DetectorSettings.trains``."""
        return any(member.parameters.trains for member in self.members)


def mean_map(maps: Sequence[Tensor], members: Sequence[Member]) -> Tensor:
    """The mean of the members' maps, each standardised by its member's centre and spread.

    Args:
        maps: float32 [B, h_i, w_i], one a member.
        members: Provide centre and spread.

    Returns:
        float32 [B, h, w] on the finest grid; coarser maps are upsampled bilinearly.
    """
    size = max(level.shape[1] for level in maps), max(level.shape[2] for level in maps)
    standard = [(_enlarged(level, size) - own.centre) / own.spread for level, own in zip(maps, members, strict=True)]
    return torch.stack(standard).mean(0)


def mean_maps(maps: Sequence[npt.NDArray[np.float32]], members: Sequence[Member]) -> npt.NDArray[np.float32]:
    """See ``mean_map``, for stored maps, float32 [N, h_i, w_i]."""
    result: npt.NDArray[np.float32] = mean_map([torch.from_numpy(own) for own in maps], members).numpy()
    return result


def _enlarged(maps: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(maps.shape[1:]) == size:
        return maps
    return functional.interpolate(maps[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]


class SharedPass:
    """Features for several detectors; each part of a backbone runs once, however many detectors use it.

    Args:
        feature_specs: The features of each detector, in order.
    """

    def __init__(self, feature_specs: Sequence[FeatureSpec]) -> None:
        self._parts = [spec.backbone.parts(spec.levels) for spec in feature_specs]
        self._joins = [spec.backbone.join for spec in feature_specs]
        backbones: dict[str, Backbone] = {}
        levels: dict[str, tuple[int, ...]] = {}
        for part, wanted in (each for parts in self._parts for each in parts):
            backbones.setdefault(part.weights_tag, part)
            levels[part.weights_tag] = tuple(dict.fromkeys([*levels.get(part.weights_tag, ()), *wanted]))
        self.feature_specs = [FeatureSpec(backbones[tag], levels[tag]) for tag in backbones]

    def split(self, maps: Sequence[Sequence[Tensor]]) -> list[list[Tensor]]:
        """Divides the computed maps among the detectors.

        Args:
            maps: For each of ``self.feature_specs``, the maps of its levels.

        Returns:
            For each detector, the maps of its levels.
        """
        found = {
            (spec.backbone.weights_tag, level): values
            for spec, own in zip(self.feature_specs, maps, strict=True)
            for level, values in zip(spec.levels, own, strict=True)
        }
        return [
            join([[found[part.weights_tag, level] for level in wanted] for part, wanted in parts])
            for join, parts in zip(self._joins, self._parts, strict=True)
        ]


class EnsembleModule(nn.Module):
    """Backbones, the members' heads and their mean in one module, for export.

    Args:
        detectors: The fitted members.
        members: Their centres and spreads.
    """

    def __init__(self, detectors: Sequence[FeatureDetector], members: Sequence[Member]) -> None:
        super().__init__()
        self._shared = SharedPass([spec for detector in detectors for spec in detector.feature_specs])
        self._members = tuple(members)
        self._use_images = [detector.uses_images for detector in detectors]
        self.backbones = nn.ModuleList(spec.backbone for spec in self._shared.feature_specs)
        self.heads = nn.ModuleList(detector.head for detector in detectors)

    def forward(self, images: Tensor) -> Tensor:
        """float32 [B, 3, H, W] in 0 to 1 to float32 [B, h, w]."""
        levels = [spec.levels for spec in self._shared.feature_specs]
        passes = [backbone(images, wanted) for backbone, wanted in zip(self.backbones, levels, strict=True)]
        seen = zip(self.heads, self._shared.split(passes), self._use_images, strict=True)
        return mean_map([head([*maps, images] if sees else maps) for head, maps, sees in seen], self._members)


class EnsembleDetector(Detector):
    """The mean of the standardised maps of two or more separately fitted detectors."""

    name: ClassVar[str] = ENSEMBLE
    settings_type: ClassVar[type[DetectorSettings]] = EnsembleSettings
    settings: EnsembleSettings

    def __init__(self, settings: EnsembleSettings, detectors: Sequence[FeatureDetector], seed: int = 0) -> None:
        """Combines detectors, fitted or not.

        Args:
            settings: Describes the members.
            detectors: The members' detectors, in the same order.
            seed: Unused; every member has its own.
        """
        self.settings = settings
        self.detectors = tuple(detectors)
        self.seed = seed

    @classmethod
    def build(cls, settings: DetectorSettings, extractors: Extractors, seed: int = 0) -> EnsembleDetector:
        """See ``Detector.build``."""
        assert isinstance(settings, EnsembleSettings)
        return cls(settings, [member.build(extractors) for member in settings.members], seed)

    @property
    def parts(self) -> tuple[Detector, ...]:
        """See ``Detector.parts``."""
        return self.detectors

    @property
    def feature_specs(self) -> tuple[FeatureSpec, ...]:
        """See ``Detector.feature_specs``: each backbone once, with the levels of all members that use it."""
        united: dict[str, FeatureSpec] = {}
        for spec in (each for detector in self.detectors for each in detector.feature_specs):
            known = united.setdefault(spec.backbone.name, FeatureSpec(spec.backbone, ()))
            levels = dict.fromkeys([*known.levels, *spec.levels])
            united[spec.backbone.name] = FeatureSpec(known.backbone, tuple(levels))
        return tuple(united.values())

    @property
    def device(self) -> torch.device:
        """See ``Detector.device``."""
        return self.detectors[0].device

    @property
    def selects_channels(self) -> bool:
        """See ``Detector.selects_channels``."""
        return any(detector.selects_channels for detector in self.detectors)

    def fit(self, normals: ImageSet, anomalies: PairSource | None, budget: Budget, report: Report) -> None:
        """See ``Detector.fit``; all members that train on anomalies get the same source.

        Raises:
            ValueError: Members train on different anomalies; fit each of ``parts`` separately.
        """
        if len({detector.settings.recipe for detector in self.detectors} - {None}) > 1:
            raise ValueError("the members train on different anomalies: fit each of the parts separately")
        for done, detector in enumerate(self.detectors):
            own = None if detector.settings.recipe is None else anomalies
            detector.fit(normals, own, budget, _part_of(report, done, len(self.detectors)))

    @torch.inference_mode()
    def anomaly_map(self, images: Tensor) -> Tensor:
        """See ``Detector.anomaly_map``."""
        shared = SharedPass([spec for detector in self.detectors for spec in detector.feature_specs])
        run = self.detectors[0].extractor.run
        features = shared.split([run(spec.backbone, images, spec.levels) for spec in shared.feature_specs])
        pairs = zip(self.detectors, features, strict=True)
        return mean_map([detector.map_from_features(own, images) for detector, own in pairs], self.settings.members)

    def anomaly_maps(self, images: ImageSet) -> npt.NDArray[np.float32]:
        """See ``Detector.anomaly_maps``."""
        return mean_maps([detector.anomaly_maps(images) for detector in self.detectors], self.settings.members)

    @property
    def state(self) -> dict[str, Tensor]:
        """See ``Detector.state``: the members' tensors, prefixed by their position."""
        return {
            _prefix(place) + name: tensor
            for place, detector in enumerate(self.detectors)
            for name, tensor in detector.state.items()
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """See ``Detector.load_state``."""
        for place, detector in enumerate(self.detectors):
            own = _prefix(place)
            detector.load_state({name.removeprefix(own): t for name, t in state.items() if name.startswith(own)})

    def to_module(self) -> nn.Module:
        """See ``Detector.to_module``."""
        return EnsembleModule(self.detectors, self.settings.members)


def _prefix(place: int) -> str:
    return f"{place}."


def _part_of(report: Report, done: int, count: int) -> Report:
    """Progress of one of several consecutive fits, as a fraction of all."""
    return lambda share: report((done + share) / count)
