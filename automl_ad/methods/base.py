"""The contract of a detector: images in, anomaly maps out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from automl_ad.data.image_set import ImageSet
from automl_ad.synthesis.sources import Recipe
from automl_ad.training import Budget, Report

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

    from automl_ad.methods.pairs import PairSource
    from automl_ad.methods.space import Space


class MethodSettings(BaseModel):
    """The parameters of one candidate: what a trial suggests and a bundle records."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: str
    levels: tuple[int, ...]

    @property
    def recipe(self) -> Recipe | None:
        """The anomalies that fitting learns from; None for methods that learn from good images alone."""
        return None

    @property
    def learns_from(self) -> frozenset[str]:
        """Families of synthetic anomalies that fitting learns from: a proxy score on these is a home game."""
        return frozenset() if self.recipe is None else frozenset(self.recipe.families)

    @property
    def trains(self) -> bool:
        """Whether fitting is iterative: it reports progress, can be pruned, and a budget can end it early."""
        return False


class Detector(ABC):
    """An anomaly model of one method.

    Attributes:
        name: The method's name.
        learns_from: Families of synthetic anomalies that its candidates may learn from.
        chooses: Whether a map hangs on a choice among channels, which rounding can turn where two are nearly equal:
            the same image may then have two maps, both right.
        settings: Parameters of this candidate.
        seed: Drives everything random in the fit.
    """

    name: ClassVar[str]
    learns_from: ClassVar[frozenset[str]] = frozenset()
    chooses: ClassVar[bool] = False
    settings: MethodSettings
    seed: int

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
        """Backbone and detector as one module from images to maps, for export."""

    @classmethod
    @abstractmethod
    def suggest(cls, trial: BaseTrial, space: Space) -> dict[str, Any]:
        """Draws the parameters of a candidate from ``trial`` within ``space``."""

    @classmethod
    @abstractmethod
    def defaults(cls, space: Space) -> Sequence[dict[str, Any]]:
        """Settings worth trying first within ``space``, the published ones foremost."""
