"""Trains the denoiser on random crops of the good images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from automl_ad.synthesis.sdas.denoiser import COORDINATES, Denoiser, position_channels
from automl_ad.synthesis.sdas.encoding import Encoding
from automl_ad.synthesis.sdas.losses import diffusion_loss
from automl_ad.synthesis.sdas.settings import SdasSettings
from automl_ad.training import Budget, Progress, TrainingLog, TrainingPlan, ignore_progress, train

if TYPE_CHECKING:
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

Watch = Callable[[Progress], None]


def noise_schedule(settings: SdasSettings, clip: float = 1.0) -> DDPMScheduler:
    """The diffusion of the published method: T variances from 1e-4 to 0.02, clean images clipped to +-``clip``."""
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler  # imported here: takes seconds

    schedule: DDPMScheduler = DDPMScheduler(
        num_train_timesteps=settings.timesteps,
        beta_start=1e-4,
        beta_end=0.02,
        beta_schedule="linear",
        variance_type="learned_range" if settings.network.learned_variance else "fixed_small",
        prediction_type=settings.predicts,
        clip_sample=True,
        clip_sample_range=clip,
        timestep_spacing="leading",
    )
    return schedule


@dataclass(frozen=True)
class Crops:
    """Draws training batches.

    Attributes:
        images: uint8 [N, 3, H, W], on the device of the training.
        encoding: Encoding of the images.
        side: Side of the crops, or None for whole images.
        grid: Crop offsets are multiples of this.
    """

    images: Tensor
    encoding: Encoding
    side: int | None
    grid: int

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Random crops, float32 [count, C, h, w] in about -1 to 1, and position channels, float32 [count, 5, h, w]."""
        height, width = self.images.shape[-2:]
        where = self.positions
        chosen = torch.randint(len(self.images), (count,), generator=generator).tolist()
        if self.side is None:
            whole = where.expand(count, -1, -1, -1)
            return self._encoded(self.images[chosen], whole), whole
        h, w = min(self.side, height), min(self.side, width)
        tops = torch.randint((height - h) // self.grid + 1, (count,), generator=generator) * self.grid
        lefts = torch.randint((width - w) // self.grid + 1, (count,), generator=generator) * self.grid
        places = list(zip(chosen, tops.tolist(), lefts.tolist(), strict=True))
        crops = torch.stack([self.images[i, :, y : y + h, x : x + w] for i, y, x in places])
        positions = torch.stack([where[:, y : y + h, x : x + w] for _, y, x in places])
        return self._encoded(crops, positions), positions

    @cached_property
    def positions(self) -> Tensor:
        """Position channels of the whole image, float32 [5, H, W]."""
        return position_channels(self.encoding.mean.to(self.images.device))

    def _encoded(self, crops: Tensor, positions: Tensor) -> Tensor:
        """Encoded as they are drawn: exact, as the likelihood of a learned variance assumes 8-bit levels."""
        return self.encoding.encode(crops, positions[:, COORDINATES:])


def learn(
    denoiser: Denoiser,
    crops: Crops,
    settings: SdasSettings,
    plan: TrainingPlan,
    seed: int,
    budget: Budget,
    watch: Watch | None = None,
) -> TrainingLog:
    """Trains the denoiser in place.

    Args:
        denoiser: On the device of the crops.
        crops: Training data.
        settings: Settings of the model.
        plan: Steps, learning rate and schedule.
        seed: Drives crops, timesteps and noise.
        budget: Ends the training early.
        watch: Called about once a second.

    Raises:
        FloatingPointError: The loss is not finite.
    """
    generator = torch.Generator().manual_seed(seed)
    scheduler = noise_schedule(settings)

    def loss() -> Tensor:
        clean, where = crops.draw(settings.batch, generator)
        timesteps = torch.randint(settings.max_train_timestep, (len(clean),), generator=generator).to(clean.device)
        noise = torch.randn(clean.shape, generator=generator).to(clean.device)
        return diffusion_loss(scheduler, lambda x, t: denoiser(x, t, where), clean, timesteps, noise)

    return train(denoiser, loss, plan, budget=budget, report=ignore_progress, watch=watch)
