"""Losses of the denoiser: squared error, and the variational bound for a learned variance.

Nichol and Dhariwal, "Improved Denoising Diffusion Probabilistic Models", ICML 2021, section 3.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor
from torch.nn import functional

from automl_ad.synthesis.sdas.sampling import Denoise, Posterior, estimate_clean, split_output

if TYPE_CHECKING:
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

HALF_LEVEL = 1 / 255
"""Half the distance between adjacent 8-bit levels in -1 to 1."""
LEAST_LIKELIHOOD = 1e-12
"""Lower bound of the likelihood, so that the loss stays finite."""


def diffusion_loss(
    scheduler: DDPMScheduler, denoise: Denoise, clean: Tensor, timesteps: Tensor, noise: Tensor
) -> Tensor:
    """Mean squared error of the prediction, plus the variational bound if the network learns its variance.

    The hybrid objective of the paper (equation 16) with weight 1 on one term of the bound, as RealNet trains. The
    prediction is detached in the bound, which thus trains the variance only.

    Args:
        scheduler: Diffusion of T timesteps; ``epsilon`` or ``v_prediction``. Training does not use respacing.
        denoise: The network.
        clean: float32 [B, C, H, W], -1 to 1.
        timesteps: int64 [B], 0 to T - 1.
        noise: Standard normal, float32 [B, C, H, W].

    Returns:
        float32 scalar.

    Raises:
        ValueError: Unexpected number of output channels or prediction type.
    """
    noisy = scheduler.add_noise(clean, noise, cast(torch.IntTensor, timesteps))  # the library's narrow annotation
    output = denoise(noisy, timesteps)
    prediction, fraction = split_output(scheduler, output, clean.shape[1])
    error = functional.mse_loss(prediction, _target(scheduler, clean, timesteps, noise))
    if fraction is None:
        return error
    frozen = torch.cat([prediction.detach(), fraction], 1)
    return error + variational_bound(scheduler, frozen, clean, noisy, timesteps).mean()


def variational_bound(
    scheduler: DDPMScheduler, output: Tensor, clean: Tensor, noisy: Tensor, timesteps: Tensor
) -> Tensor:
    """One term of the variational bound for each image: the divergence from the true posterior to the model's.

    At timestep 0 it is the negative log likelihood of the image's levels instead.

    Args:
        scheduler: Diffusion of T timesteps with variance ``learned_range``.
        output: Of the network, float32 [B, 2C, H, W].
        clean: float32 [B, C, H, W], 8-bit levels scaled to -1 to 1.
        noisy: float32 [B, C, H, W], the clean images at the timesteps.
        timesteps: int64 [B], 0 to T - 1.

    Returns:
        float32 [B], bits per dimension.

    Raises:
        ValueError: The output has another number of channels, or the variance is not learned.
    """
    prediction, fraction = split_output(scheduler, output, clean.shape[1])
    if fraction is None:
        raise ValueError("the variational bound needs a scheduler with the variance type learned_range")
    alpha_bar, posterior = _posterior_at(scheduler, timesteps)
    mean = posterior.mean(estimate_clean(scheduler, prediction, noisy, alpha_bar), noisy)
    # The variance is zero at timestep 0, so its logarithm is clipped to the next one, as in the paper's code.
    least = _posterior_at(scheduler, timesteps.clamp(min=1))[1].variance
    log_variance = dataclasses.replace(posterior, variance=least).log_variance(fraction)
    divergence = gaussian_divergence(posterior.mean(clean, noisy), torch.log(posterior.variance), mean, log_variance)
    unlikelihood = -level_log_likelihood(clean, mean, 0.5 * log_variance)
    nats = torch.where((timesteps == 0)[:, None, None, None], unlikelihood, divergence)
    return nats.mean((1, 2, 3)) / math.log(2)


def gaussian_divergence(mean: Tensor, log_variance: Tensor, other_mean: Tensor, other_log_variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence of a Gaussian to another, in nats, elementwise with broadcasting."""
    apart = (mean - other_mean) ** 2 * torch.exp(-other_log_variance)
    wider = other_log_variance - log_variance
    return 0.5 * (wider + torch.exp(-wider) + apart - 1)


def level_log_likelihood(levels: Tensor, mean: Tensor, log_deviation: Tensor) -> Tensor:
    """Log likelihood of 8-bit levels under a Gaussian, whose tails fall to the first and the last level.

    Ho et al., NeurIPS 2020, equation 13.

    Args:
        levels: float32, level / 127.5 - 1.
        mean: float32, broadcasts to ``levels``.
        log_deviation: Logarithm of the standard deviation, float32, broadcasts to ``levels``.

    Returns:
        float32, nats, at least log(1e-12).
    """
    sharpness = torch.exp(-log_deviation)
    offset = levels - mean
    # By symmetry both bounds are computed in the lower tail, where float32 is more precise.
    upper = _share_below((HALF_LEVEL - offset.abs()) * sharpness)
    lower = _share_below((-HALF_LEVEL - offset.abs()) * sharpness)
    first = _share_below((offset + HALF_LEVEL) * sharpness)
    last = _share_below((HALF_LEVEL - offset) * sharpness)
    inner = torch.where(levels > 1 - HALF_LEVEL, last, upper - lower)
    return torch.log(torch.where(levels < HALF_LEVEL - 1, first, inner).clamp(min=LEAST_LIKELIHOOD))


def _share_below(deviations: Tensor) -> Tensor:
    # torch.special.ndtr is several percent off at five deviations below the mean.
    return 0.5 * torch.erfc(deviations * -math.sqrt(0.5))


def _target(scheduler: DDPMScheduler, clean: Tensor, timesteps: Tensor, noise: Tensor) -> Tensor:
    predicted = scheduler.config["prediction_type"]
    if predicted == "epsilon":
        return noise
    if predicted == "v_prediction":
        return scheduler.get_velocity(clean, noise, cast(torch.IntTensor, timesteps))
    raise ValueError(f"training needs the prediction type epsilon or v_prediction but it is {predicted!r}")


def _posterior_at(scheduler: DDPMScheduler, timesteps: Tensor) -> tuple[Tensor, Posterior]:
    """Share of the signal, float32 [B, 1, 1, 1], and the posterior of the timestep before, of the same shapes."""
    table = scheduler.alphas_cumprod.to(timesteps.device)
    before = torch.cat([table.new_ones(1), table])
    alpha_bar = table[timesteps][:, None, None, None]
    return alpha_bar, Posterior.between(alpha_bar, before[timesteps][:, None, None, None])
