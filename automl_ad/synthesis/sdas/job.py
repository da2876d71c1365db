"""What SDAS is asked to do, and the parts that are made to order for it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from automl_ad.data.fingerprint import pixel_hash
from automl_ad.synthesis.sdas.denoiser import Denoiser
from automl_ad.synthesis.sdas.encoding import Encoding
from automl_ad.synthesis.sdas.gate import Judge
from automl_ad.synthesis.sdas.learning import Crops, Watch, learn
from automl_ad.synthesis.sdas.settings import SdasSettings
from automl_ad.synthesis.sdas.synthesiser import Sampler, as_planes
from automl_ad.training import Budget, TrainingLog, TrainingPlan

Tell = Callable[[str, int, int, float | None], None]
"""Told what goes on: a phrase, units done, units in all, seconds left if known."""


def say_nothing(message: str, done: int, total: int, left_s: float | None) -> None:
    """For work that nobody watches."""
    del message, done, total, left_s


@dataclass(frozen=True)
class SdasJob:
    """One model for one set of pictures.

    Attributes:
        fit: uint8 [N, H, W, 3], the good pictures to learn from.
        bases: uint8 [M, H, W, 3], other good pictures, by which the gate judges.
        settings: Of the model.
        seed: Drives training and sampling.
        cache: Folder for models and pools; shared by all studies.
        device: Where to compute.
        judge: Makes the reference detector; called only if there is something to judge.
        budget: Time limit for all of it, the pictures to come included.
        pictures: How many pictures will be asked for.
        tell: Told what goes on.
    """

    fit: npt.NDArray[np.uint8]
    bases: npt.NDArray[np.uint8]
    settings: SdasSettings
    seed: int
    cache: Path
    device: torch.device
    judge: Callable[[], Judge]
    budget: Budget = field(default_factory=Budget)
    pictures: int = 0
    tell: Tell = say_nothing

    @cached_property
    def encoding(self) -> Encoding:
        """What the model sees of the pictures."""
        return Encoding.of(self.fit) if self.settings.encodes else Encoding.plain(*self.fit.shape[1:3])

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What the model depends on."""
        return {
            "images": pixel_hash(self.fit),
            "settings": self.settings.model_dump(mode="json"),
            "seed": self.seed,
        }

    @property
    def home(self) -> Path:
        """Folder of the model and its pool."""
        digest = hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()
        return self.cache / digest[:16]

    def denoiser(self) -> Denoiser:
        """An untrained network."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            denoiser = Denoiser(self.settings.network, self.encoding.channels)
        return denoiser.to(self.device).to(memory_format=torch.channels_last)

    def teach(
        self, denoiser: Denoiser, plan: TrainingPlan, seed: int, budget: Budget, watch: Watch | None = None
    ) -> TrainingLog:
        """Trains a network on the pictures; see ``learn``."""
        return learn(denoiser, self._crops, self.settings, plan, seed, budget, watch)

    def sampler(self, denoiser: Denoiser) -> Sampler:
        """What makes pictures with a trained network."""
        return Sampler(denoiser, self.settings, self.encoding, self._crops.place)

    @cached_property
    def _crops(self) -> Crops:
        planes = as_planes(self.fit).to(self.device)
        return Crops(planes, self.encoding, self.settings.crop, self.settings.network.patch)
