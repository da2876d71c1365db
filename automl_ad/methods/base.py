"""The contract of a detector: images in, anomaly maps out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from automl_ad.backbones.base import Backbone
from automl_ad.backbones.extractor import FeatureExtractor
from automl_ad.data.image_set import ImageSet
from automl_ad.methods.fit_memory import FitNeed
from automl_ad.synthesis.sources import Recipe
from automl_ad.training import Budget, Report

if TYPE_CHECKING:
    from automl_ad.methods.pairs import PairSource

Extractors = Callable[[str], FeatureExtractor]
"""Maps a backbone name to its extractor."""


class DetectorSettings(BaseModel):
    """The parameters of one candidate, as stored in a bundle."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @property
    def recipe(self) -> Recipe | None:
        """The synthetic anomalies that fitting trains on; None for methods that train on normal images only."""
        return None

    @property
    def learns_from(self) -> frozenset[str]:
        """Families of synthetic anomalies used in training; proxy scores on these have in-family bias."""
        return frozenset() if self.recipe is None else frozenset(self.recipe.families)

    @property
    def advantage(self) -> float:
        """Expected AUROC gain on synthetic anomalies of any family that does not carry over to real defects.

        Subtracted wherever candidates are compared. Measured by ``studies/fidelity`` relative to methods that train on
        normal images only (docs/benchmarks.md); 0 for these, and where no effect was found.
        """
        return 0.0

    @property
    def trains(self) -> bool:
        """Whether fitting is iterative: it reports progress, can be pruned, and a budget can end it early."""
        return False


class MethodSettings(DetectorSettings):
    """The parameters of a method on one backbone, as suggested by a trial."""

    backbone: str
    levels: tuple[int, ...]


@dataclass(frozen=True)
class FeatureSpec:
    """The features that a detector consumes: levels of one backbone.

    Attributes:
        backbone: The frozen feature extractor.
        levels: The levels used.
    """

    backbone: Backbone
    levels: tuple[int, ...]


class Detector(ABC):
    """An anomaly model of one method, or an ensemble of several.

    Attributes:
        name: The method's name.
        learns_from: Families of synthetic anomalies that its candidates may train on.
        settings_type: Type of ``settings``.
        settings: Parameters of this candidate.
        seed: Drives everything random in the fit.
    """

    name: ClassVar[str]
    learns_from: ClassVar[frozenset[str]] = frozenset()
    settings_type: ClassVar[type[DetectorSettings]]
    settings: DetectorSettings
    seed: int

    @classmethod
    @abstractmethod
    def build(cls, settings: DetectorSettings, extractors: Extractors, seed: int = 0) -> Detector:
        """An unfitted detector on the backbones that its settings name.

        Args:
            settings: Of type ``settings_type``.
            extractors: Maps backbone names to extractors.
            seed: Drives everything random in the fit.
        """

    @property
    def parts(self) -> tuple[Detector, ...]:
        """The detectors that are fitted separately: the members of an ensemble, otherwise this detector alone."""
        return (self,)

    @property
    @abstractmethod
    def feature_specs(self) -> tuple[FeatureSpec, ...]:
        """The features it consumes, one entry for each backbone."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """The device it runs on."""

    @property
    def selects_channels(self) -> bool:
        """Whether a map depends on a top-k selection of channels, which rounding can change where scores nearly tie.

        The exported graph may then give a different, equally valid map for the same image.
        """
        return False

    def fit_need(self, images: int, size: tuple[int, int]) -> FitNeed:
        """What a fit will hold at once beside images and backbone.

        Args:
            images: Normal images of the fit.
            size: (height, width) of each in pixels.
        """
        del images, size
        return FitNeed()

    @abstractmethod
    def fit(self, normals: ImageSet, anomalies: PairSource | None, budget: Budget, report: Report) -> None:
        """Fits the detector to normal images.

        Args:
            normals: Normal images only.
            anomalies: Source of the anomalies described by ``settings.recipe``; None if that is None.
            budget: Time limit; training stops early and keeps its current weights.
            report: Called with the fraction done, 0 to 1; at least five times by methods that train.

        Raises:
            NotEnoughMemoryError: There is no room for the fit on its device.
        """

    @abstractmethod
    def anomaly_map(self, images: Tensor) -> Tensor:
        """Maps float32 [B, 3, H, W] images in 0 to 1 to float32 [B, h, w]: raw, unbounded, higher = more anomalous."""

    @abstractmethod
    def anomaly_maps(self, images: ImageSet) -> npt.NDArray[np.float32]:
        """Maps of a whole set, float32 [N, h, w], through the feature cache where there is one."""

    @property
    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """The fitted tensors, without the backbone; can be saved as safetensors."""

    @abstractmethod
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restores a fitted detector from ``state``.

        Raises:
            ValueError: The tensors are not those of this method.
        """

    @abstractmethod
    def to_module(self) -> nn.Module:
        """Backbones and detector as one module that maps images to anomaly maps, for export."""
