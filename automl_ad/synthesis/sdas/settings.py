"""Settings of the diffusion model: architecture, training and sampling."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from automl_ad.synthesis.sdas.scale import PUBLISHED, StrengthScale
from automl_ad.training import TrainingPlan

Size = Literal["small", "medium", "published"]


class NetworkSettings(BaseModel):
    """Architecture of the U-Net.

    Attributes:
        patch: Factor of the pixel unshuffling before the first convolution.
        widths: Channels of each level; each level halves the resolution of the one before.
        layers: Residual blocks of a level.
        attention: Whether each level has self-attention; without any, the network takes images of any size.
        head_channels: Channels of an attention head.
        published_blocks: Residual up- and downsampling and scale-shift conditioning, as the published model has.
        placed: Whether the network gets position channels (see ``position_channels``).
        learned_variance: Whether the network predicts the variance of the reverse step as well.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    patch: int = 1
    widths: tuple[int, ...]
    layers: int = 1
    attention: tuple[bool, ...]
    head_channels: int = 64
    published_blocks: bool = False
    placed: bool = True
    learned_variance: bool = False

    @property
    def divisor(self) -> int:
        """Sides of images must be multiples of this."""
        return int(self.patch * 2 ** (len(self.widths) - 1))


class SdasSettings(BaseModel):
    """One diffusion model: network, training and sampling.

    Attributes:
        network: Architecture of the U-Net.
        crop: Side of the random training crops; None for whole images.
        batch: Batch size.
        accumulate: Batches per optimiser step (gradient accumulation).
        steps: Optimiser steps.
        extensions: How often training may be extended by half its length if the model does not pass the gate.
        rate: Peak learning rate.
        decays: Whether the learning rate decays to zero by a cosine schedule.
        predicts: The noise (``epsilon``), or the velocity (``v_prediction``; Salimans and Ho, ICLR 2022), whose error
            has equal weight at all noise levels and which learns shapes sooner in a short training.
        encodes: Whether images are encoded relative to their mean along principal axes (see ``Encoding``).
        average: Decay of the exponential moving average of the weights, with warm-up.
        timesteps: Length T of the diffusion, with variances rising linearly from 1e-4 to 0.02.
        sampling_steps: Number of sampling steps after respacing, for images without a given noise.
        start_step: First timestep of these: T for pure noise, less for a noised base image.
        perturbed_from: Anomalies are variants of the base image, perturbed at this timestep and noisier ones; None for
            images from ``start_step`` on with added variance at all timesteps, as published.
        variant_steps: Number of sampling steps of a variant.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: NetworkSettings
    crop: int | None = None
    batch: int = 16
    accumulate: int = 1
    steps: int
    extensions: int = 2
    rate: float
    decays: bool = True
    predicts: Literal["epsilon", "v_prediction"] = "v_prediction"
    encodes: bool = True
    average: float = 0.995
    timesteps: int = 1000
    sampling_steps: int = Field(default=20, ge=2)
    start_step: int = Field(default=400, ge=1)
    perturbed_from: int | None = 500
    variant_steps: int = Field(default=5, ge=2)

    @property
    def max_train_timestep(self) -> int:
        """Upper bound of the training timesteps; later ones do not occur in sampling."""
        first = self.timesteps // self.variant_steps * (self.variant_steps - 1) if self.perturbed_from else 0
        return min(self.timesteps, max(first + 1, round(self.start_step * 1.25)))

    @property
    def scale(self) -> StrengthScale | None:
        """The scale of strengths; None if it is to be found for each model."""
        return PUBLISHED if self.perturbed_from is None else None

    def plan(self, share: float = 1.0, rate: float | None = None) -> TrainingPlan:
        """The training plan, optionally with a ``share`` of the steps and another peak ``rate``."""
        steps = max(1, round(self.steps * share))
        return TrainingPlan(
            steps=steps,
            rate=self.rate if rate is None else rate,
            schedule="cosine" if self.decays else "constant",
            warmup=min(50, steps // 10),
            clip=1.0,
            average=self.average,
            accumulate=self.accumulate,
            half=True,
        )


_SMALL = SdasSettings(
    network=NetworkSettings(patch=2, widths=(48, 96, 96), attention=(False, False, False)),
    crop=64,
    steps=400,
    rate=1e-3,
)
_MEDIUM = SdasSettings(
    network=NetworkSettings(
        widths=(64, 128, 192, 256, 256), layers=2, attention=(False, False, False, True, True), head_channels=64
    ),
    steps=3000,
    rate=3e-4,
    average=0.999,
)
# Widths, blocks, schedule and optimiser of RealNet's SDAS (section 4 of the paper and its released configuration).
_PUBLISHED = SdasSettings(
    network=NetworkSettings(
        widths=(256, 256, 512, 512, 1024, 1024),
        layers=2,
        attention=(False, False, False, True, True, True),
        published_blocks=True,
        placed=False,
        learned_variance=True,
    ),
    batch=20,
    accumulate=3,
    steps=17_000,
    extensions=0,
    rate=1e-4,
    decays=False,
    predicts="epsilon",
    encodes=False,
    average=0.9999,
    start_step=1000,
    perturbed_from=None,
)
_SIZES: dict[Size, SdasSettings] = {"small": _SMALL, "medium": _MEDIUM, "published": _PUBLISHED}


def settings_for(size: Size) -> SdasSettings:
    """The settings of a model.

    Args:
        size: ``small`` for a CPU, ``medium`` for a GPU, ``published`` for the paper's.

    Returns:
        The settings. The published model starts from pure noise. The others make variants of the base image, which
        keep its layout and light, so that a local anomaly cannot be detected by a difference in light.
    """
    return _SIZES[size]
