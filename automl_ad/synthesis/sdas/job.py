"""Description of one SDAS training and sampling job, and factories for its components."""

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
from automl_ad.synthesis.sdas.gate import ReferenceDetector
from automl_ad.synthesis.sdas.learning import Crops, Watch, learn
from automl_ad.synthesis.sdas.settings import SdasSettings
from automl_ad.synthesis.sdas.synthesiser import Sampler, as_planes
from automl_ad.training import Budget, TrainingLog, TrainingPlan

ProgressCallback = Callable[[str, int, int, float | None], None]
"""Called with a message, units done, units in total, and seconds left if known."""


def no_progress(message: str, done: int, total: int, left_s: float | None) -> None:
    """Ignores all progress."""
    del message, done, total, left_s


@dataclass(frozen=True)
class SdasJob:
    """One model for one set of images.

    Attributes:
        train_images: uint8 [N, H, W, 3], the good images to train on.
        bases: uint8 [M, H, W, 3], other good images, used by the gate.
        settings: Settings of the model.
        seed: Drives training and sampling.
        cache: Folder for models and pools; shared by all studies.
        device: Device of training and sampling.
        reference: Creates the gate's reference detector; called only if the gate runs.
        budget: Time limit for training and all sampling.
        image_count: Number of images that will be requested.
        progress: Called as the work proceeds.
    """

    train_images: npt.NDArray[np.uint8]
    bases: npt.NDArray[np.uint8]
    settings: SdasSettings
    seed: int
    cache: Path
    device: torch.device
    reference: Callable[[], ReferenceDetector]
    budget: Budget = field(default_factory=Budget)
    image_count: int = 0
    progress: ProgressCallback = no_progress

    @cached_property
    def encoding(self) -> Encoding:
        """The encoding of the images."""
        return (
            Encoding.of(self.train_images) if self.settings.encodes else Encoding.plain(*self.train_images.shape[1:3])
        )

    @cached_property
    def identity(self) -> dict[str, Any]:
        """All inputs that the model depends on; hashed, so its keys must not change."""
        return {
            "images": pixel_hash(self.train_images),
            "settings": self.settings.model_dump(mode="json"),
            "seed": self.seed,
        }

    @property
    def folder(self) -> Path:
        """Folder of the model and its pool."""
        digest = hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()
        return self.cache / digest[:16]

    def denoiser(self) -> Denoiser:
        """An untrained network."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            denoiser = Denoiser(self.settings.network, self.encoding.channels)
        return denoiser.to(self.device).to(memory_format=torch.channels_last)

    def train(
        self, denoiser: Denoiser, plan: TrainingPlan, seed: int, budget: Budget, watch: Watch | None = None
    ) -> TrainingLog:
        """Trains a network on the images; see ``learn``."""
        return learn(denoiser, self._crops, self.settings, plan, seed, budget, watch)

    def sampler(self, denoiser: Denoiser) -> Sampler:
        """A sampler with a trained network."""
        return Sampler(denoiser, self.settings, self.encoding, self._crops.positions)

    @cached_property
    def _crops(self) -> Crops:
        planes = as_planes(self.train_images).to(self.device)
        return Crops(planes, self.encoding, self.settings.crop, self.settings.network.patch)
