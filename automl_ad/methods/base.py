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
from automl_ad.synthesis.sources import Recipe
from automl_ad.training import Budget, Report

if TYPE_CHECKING:
    from automl_ad.methods.pairs import PairSource

Extractors = Callable[[str], FeatureExtractor]
"""Gives the extractor of a backbone by its name."""
BACKBONE_JOINT = " & "
"""Between the names of backbones that one detector reads together."""


class DetectorSettings(BaseModel):
    """The parameters of one candidate: what a bundle records."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @property
    def recipe(self) -> Recipe | None:
        """The anomalies that fitting learns from; None for methods that learn from good images alone."""
        return None

    @property
    def learns_from(self) -> frozenset[str]:
        """Families of synthetic anomalies that fitting learns from: a proxy score on these is a home game."""
        return frozenset() if self.recipe is None else frozenset(self.recipe.families)

    @property
    def advantage(self) -> float:
        """How much better synthetic anomalies of any family make it look than real defects do, in AUROC.

        Taken off wherever it is compared with others. Measured by ``studies/fidelity`` beside methods that learn from
        good images alone (docs/benchmarks.md); 0 for these, and where nothing was found.
        """
        return 0.0

    @property
    def trains(self) -> bool:
        """Whether fitting is iterative: it reports progress, can be pruned, and a budget can end it early."""
        return False


class MethodSettings(DetectorSettings):
    """The parameters of a method on one backbone: what a trial suggests."""

    backbone: str
    levels: tuple[int, ...]


@dataclass(frozen=True)
class Reading:
    """What a detector reads of a backbone.

    Attributes:
        backbone: The frozen feature extractor.
        levels: Which of its levels.
    """

    backbone: Backbone
    levels: tuple[int, ...]


class Detector(ABC):
    """An anomaly model of one method, or the average of some.

    Attributes:
        name: The method's name.
        learns_from: Families of synthetic anomalies that its candidates may learn from.
        settings_type: The type of its parameters.
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
            extractors: Gives the extractors.
            seed: Drives everything random in the fit.
        """

    @property
    def parts(self) -> tuple[Detector, ...]:
        """The detectors that are fitted each by itself: the members of an average, else this one alone."""
        return (self,)

    @property
    @abstractmethod
    def readings(self) -> tuple[Reading, ...]:
        """What it reads of each of its backbones."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where it computes."""

    @property
    def chooses(self) -> bool:
        """Whether a map hangs on a choice among channels, which rounding can turn where two are nearly equal.

        The same image may then have two maps, both right.
        """
        return False

    @abstractmethod
    def fit(self, normals: ImageSet, anomalies: PairSource | None, budget: Budget, report: Report) -> None:
        """Learns what normal looks like.

        Args:
            normals: Good images only.
            anomalies: Draws what ``settings.recipe`` names; None without one.
            budget: Time limit; training ends early with what it has.
            report: Called at least five times by methods that train.
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
        """What the fit learned, without the backbone; savable as safetensors."""

    @abstractmethod
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restores a fit from ``state``.

        Raises:
            ValueError: The tensors are not those of this method.
        """

    @abstractmethod
    def to_module(self) -> nn.Module:
        """Backbones and detector as one module from images to maps, for export."""
