"""The mean of a few detectors' anomaly maps, each brought to one scale: where one errs, the others hold against it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationInfo, field_validator, model_validator
from torch import Tensor, nn
from torch.nn import functional

from automl_ad.backbones.base import Backbone
from automl_ad.data.image_set import ImageSet
from automl_ad.methods.base import BACKBONE_JOINT, Detector, DetectorSettings, Extractors, MethodSettings, Reading
from automl_ad.methods.features import FeatureDetector
from automl_ad.methods.pairs import PairSource
from automl_ad.methods.registry import ENSEMBLE, detector_class
from automl_ad.training import Budget, Report


class Member(BaseModel):
    """One detector of an average, and the scale that its maps are brought to.

    Attributes:
        trial: Number of the trial that it was.
        method: Its method.
        settings: Parameters of the method, as JSON-able values.
        seed: Drives everything random in its fit: with that of its trial, it is the detector that was scored there.
        centre: What good images score that it did not see.
        spread: How far these scores lie apart.
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
        """Defaults included, so that equal members are equal."""
        return detector_class(others.data["method"]).settings_type(**values).model_dump(mode="json")

    @property
    def parameters(self) -> MethodSettings:
        """Its settings with their type."""
        return detector_class(self.method).settings_type(**self.settings)

    def build(self, extractors: Extractors) -> FeatureDetector:
        """The same, unfitted."""
        return detector_class(self.method).build(self.parameters, extractors, self.seed)


class EnsembleSettings(DetectorSettings):
    """Parameters of an average.

    Attributes:
        members: At least two.
        backbone: Names of the members' backbones, joined, for tables; found from the members.
    """

    members: tuple[Member, ...] = Field(min_length=2)
    backbone: str = ""

    @model_validator(mode="before")
    @classmethod
    def _name_backbones(cls, values: Any) -> Any:
        """The name follows from the members, whatever was given."""
        members = [Member.model_validate(member) for member in values.get("members", ())]
        names = dict.fromkeys(member.parameters.backbone for member in members)
        return {**values, "backbone": BACKBONE_JOINT.join(names)}

    @property
    def learns_from(self) -> frozenset[str]:
        """See ``DetectorSettings.learns_from``: whatever a member learns from."""
        return frozenset[str]().union(*(member.parameters.learns_from for member in self.members))

    @property
    def advantage(self) -> float:
        """See ``DetectorSettings.advantage``: that of the members, each of which has an equal say in the map."""
        return sum(member.parameters.advantage for member in self.members) / len(self.members)

    @property
    def trains(self) -> bool:
        """See ``DetectorSettings.trains``."""
        return any(member.parameters.trains for member in self.members)


def mean_map(maps: Sequence[Tensor], members: Sequence[Member]) -> Tensor:
    """The mean of maps in units of their members' scales.

    Args:
        maps: float32 [B, h_i, w_i], one a member.
        members: The scales.

    Returns:
        float32 [B, h, w] on the finest of the grids; coarser maps are enlarged bilinearly.
    """
    size = max(level.shape[1] for level in maps), max(level.shape[2] for level in maps)
    standard = [(_enlarged(level, size) - own.centre) / own.spread for level, own in zip(maps, members, strict=True)]
    return torch.stack(standard).mean(0)


def mean_maps(maps: Sequence[npt.NDArray[np.float32]], members: Sequence[Member]) -> npt.NDArray[np.float32]:
    """See ``mean_map``, for maps float32 [N, h_i, w_i] as trials keep them."""
    result: npt.NDArray[np.float32] = mean_map([torch.from_numpy(own) for own in maps], members).numpy()
    return result


def _enlarged(maps: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(maps.shape[1:]) == size:
        return maps
    return functional.interpolate(maps[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]


class SharedPass:
    """Features for several detectors, each part of a backbone run once however many read it.

    Args:
        readings: What each detector reads, in turn.
    """

    def __init__(self, readings: Sequence[Reading]) -> None:
        self._parts = [reading.backbone.parts(reading.levels) for reading in readings]
        self._joins = [reading.backbone.join for reading in readings]
        backbones: dict[str, Backbone] = {}
        levels: dict[str, tuple[int, ...]] = {}
        for part, wanted in (each for parts in self._parts for each in parts):
            backbones.setdefault(part.weights_tag, part)
            levels[part.weights_tag] = tuple(dict.fromkeys([*levels.get(part.weights_tag, ()), *wanted]))
        self.readings = [Reading(backbones[tag], levels[tag]) for tag in backbones]

    def parted(self, maps: Sequence[Sequence[Tensor]]) -> list[list[Tensor]]:
        """What each detector reads.

        Args:
            maps: Of each of ``readings`` the maps of its levels.
        """
        found = {
            (reading.backbone.weights_tag, level): values
            for reading, own in zip(self.readings, maps, strict=True)
            for level, values in zip(reading.levels, own, strict=True)
        }
        return [
            join([[found[part.weights_tag, level] for level in wanted] for part, wanted in parts])
            for join, parts in zip(self._joins, self._parts, strict=True)
        ]


class AverageModule(nn.Module):
    """Backbones, the members' heads and their mean in one module, for export.

    Args:
        detectors: The fitted members.
        members: Their scales.
    """

    def __init__(self, detectors: Sequence[FeatureDetector], members: Sequence[Member]) -> None:
        super().__init__()
        self._shared = SharedPass([reading for detector in detectors for reading in detector.readings])
        self._members = tuple(members)
        self._see_images = [detector.sees_images for detector in detectors]
        self.backbones = nn.ModuleList(reading.backbone for reading in self._shared.readings)
        self.heads = nn.ModuleList(detector.head for detector in detectors)

    def forward(self, images: Tensor) -> Tensor:
        """float32 [B, 3, H, W] in 0 to 1 to float32 [B, h, w]."""
        levels = [reading.levels for reading in self._shared.readings]
        passes = [backbone(images, wanted) for backbone, wanted in zip(self.backbones, levels, strict=True)]
        seen = zip(self.heads, self._shared.parted(passes), self._see_images, strict=True)
        return mean_map([head([*maps, images] if sees else maps) for head, maps, sees in seen], self._members)


class EnsembleDetector(Detector):
    """The mean of the maps of two or more detectors, which are fitted each by itself."""

    name: ClassVar[str] = ENSEMBLE
    settings_type: ClassVar[type[DetectorSettings]] = EnsembleSettings
    settings: EnsembleSettings

    def __init__(self, settings: EnsembleSettings, detectors: Sequence[FeatureDetector], seed: int = 0) -> None:
        """Joins detectors, fitted or not.

        Args:
            settings: Names the members.
            detectors: These, in their order.
            seed: Of no effect: members have their own.
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
    def readings(self) -> tuple[Reading, ...]:
        """See ``Detector.readings``: each backbone once, with the levels of all members that read it."""
        united: dict[str, Reading] = {}
        for reading in (each for detector in self.detectors for each in detector.readings):
            known = united.setdefault(reading.backbone.name, Reading(reading.backbone, ()))
            levels = dict.fromkeys([*known.levels, *reading.levels])
            united[reading.backbone.name] = Reading(known.backbone, tuple(levels))
        return tuple(united.values())

    @property
    def device(self) -> torch.device:
        """See ``Detector.device``."""
        return self.detectors[0].device

    @property
    def chooses(self) -> bool:
        """See ``Detector.chooses``."""
        return any(detector.chooses for detector in self.detectors)

    def fit(self, normals: ImageSet, anomalies: PairSource | None, budget: Budget, report: Report) -> None:
        """See ``Detector.fit``; members that learn from anomalies all get the same.

        Raises:
            ValueError: Members learn from different anomalies: then ``parts`` are to be fitted one by one.
        """
        if len({detector.settings.recipe for detector in self.detectors} - {None}) > 1:
            raise ValueError("the members learn from different anomalies: fit each of the parts")
        for done, detector in enumerate(self.detectors):
            own = None if detector.settings.recipe is None else anomalies
            detector.fit(normals, own, budget, _part_of(report, done, len(self.detectors)))

    @torch.inference_mode()
    def anomaly_map(self, images: Tensor) -> Tensor:
        """See ``Detector.anomaly_map``."""
        shared = SharedPass([reading for detector in self.detectors for reading in detector.readings])
        run = self.detectors[0].extractor.run
        features = shared.parted([run(reading.backbone, images, reading.levels) for reading in shared.readings])
        pairs = zip(self.detectors, features, strict=True)
        return mean_map([detector.map_of(own, images) for detector, own in pairs], self.settings.members)

    def anomaly_maps(self, images: ImageSet) -> npt.NDArray[np.float32]:
        """See ``Detector.anomaly_maps``."""
        return mean_maps([detector.anomaly_maps(images) for detector in self.detectors], self.settings.members)

    @property
    def state(self) -> dict[str, Tensor]:
        """See ``Detector.state``: that of each member under its place."""
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
        return AverageModule(self.detectors, self.settings.members)


def _prefix(place: int) -> str:
    return f"{place}."


def _part_of(report: Report, done: int, count: int) -> Report:
    """The report of one fit of several."""
    return lambda share: report((done + share) / count)
