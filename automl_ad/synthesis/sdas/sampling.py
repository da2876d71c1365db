"""Ancestral diffusion sampling with added variance (SDAS: Zhang, Xu and Zhou, RealNet, CVPR 2024, arXiv 2403.05897).

``sample`` starts from noise, as published. ``sample_variants`` adds the variance to the noise with which the chain
reproduces a given image (Huberman-Spiegelglas, Kulikov and Michaeli, "An Edit Friendly DDPM Noise Space", CVPR 2024,
arXiv 2304.06140): without added variance the result is that image.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from automl_ad.synthesis.base import pixel_scale
from automl_ad.tuned import SDAS_BLURS

if TYPE_CHECKING:
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

Denoise = Callable[[Tensor, Tensor], Tensor]
"""(noisy float32 [B, C, H, W], timesteps int64 [B]) -> float32 [B, C, H, W], or [B, 2C, H, W] with learned variance."""

LEARNED = "learned_range"
VARIANCES = ("fixed_small", "fixed_large", LEARNED)
SMALLEST_VARIANCE = 1e-20


@dataclass(frozen=True)
class Posterior:
    """The posterior of the previous image, given the noisy and the clean one (Ho et al., NeurIPS 2020, equation 7).

    Attributes:
        clean_weight: Share of the clean image in the mean.
        noisy_weight: Share of the noisy image in the mean.
        variance: Variance, at least 1e-20.
        beta: Variance of the forward step between the two timesteps, an upper bound for the reverse step.
    """

    clean_weight: Tensor
    noisy_weight: Tensor
    variance: Tensor
    beta: Tensor

    @classmethod
    def between(cls, alpha_bar: Tensor, alpha_bar_before: Tensor) -> Posterior:
        """The posterior from the signal shares of the noisy and of the previous image, of one shape, in 0 to 1."""
        # The order of operations is that of diffusers, so that strength 0 is bit-identical.
        alpha = alpha_bar / alpha_bar_before
        beta = 1 - alpha
        left, left_before = 1 - alpha_bar, 1 - alpha_bar_before
        return cls(
            clean_weight=(alpha_bar_before**0.5 * beta) / left,
            noisy_weight=alpha**0.5 * left_before / left,
            variance=torch.clamp(left_before / left * beta, min=SMALLEST_VARIANCE),
            beta=beta,
        )

    def mean(self, clean: Tensor, noisy: Tensor) -> Tensor:
        """Mean of the previous image, float32 [B, C, H, W]."""
        return self.clean_weight * clean + self.noisy_weight * noisy

    def log_variance(self, fraction: Tensor) -> Tensor:
        """Learned variance: the logarithms of ``variance`` (at -1) and ``beta`` (at 1), mixed by a network's output.

        Nichol and Dhariwal, ICML 2021, equation 15.
        """
        share = (fraction + 1) / 2
        return share * torch.log(self.beta) + (1 - share) * torch.log(self.variance)


def split_output(scheduler: DDPMScheduler, output: Tensor, channels: int) -> tuple[Tensor, Tensor | None]:
    """Splits a network's output into prediction and variance.

    Args:
        scheduler: Its variance type determines whether there is a variance.
        output: float32 [B, C, H, W], or [B, 2C, H, W] with learned variance.
        channels: C.

    Returns:
        float32 [B, C, H, W] each; None for the variance if it is not learned.

    Raises:
        ValueError: The output has another number of channels.
    """
    learned = scheduler.config["variance_type"] == LEARNED
    expected = channels * 2 if learned else channels
    if output.shape[1] != expected:
        raise ValueError(f"the denoiser must give {expected} channels but gave {output.shape[1]}")
    return (output[:, :channels], output[:, channels:]) if learned else (output, None)


def estimate_clean(scheduler: DDPMScheduler, prediction: Tensor, noisy: Tensor, alpha_bar: Tensor) -> Tensor:
    """The clean image implied by a prediction, not clipped.

    Args:
        scheduler: Its prediction type determines what was predicted: ``epsilon``, ``v_prediction`` or ``sample``.
        prediction: float32 [B, C, H, W].
        noisy: float32 [B, C, H, W].
        alpha_bar: Share of the signal in the noisy images, float32 scalar or [B, 1, 1, 1].

    Returns:
        float32 [B, C, H, W].

    Raises:
        ValueError: Unknown prediction type.
    """
    predicted = scheduler.config["prediction_type"]
    if predicted == "epsilon":
        return (noisy - (1 - alpha_bar) ** 0.5 * prediction) / alpha_bar**0.5
    if predicted == "v_prediction":
        return alpha_bar**0.5 * noisy - (1 - alpha_bar) ** 0.5 * prediction
    if predicted == "sample":
        return prediction
    raise ValueError(f"the prediction type must be epsilon, v_prediction or sample but is {predicted!r}")


def respaced(scheduler: DDPMScheduler, steps: int, start_step: int) -> list[int]:
    """The timesteps used in sampling.

    Args:
        scheduler: Diffusion of T timesteps; it is not changed.
        steps: Number of timesteps after respacing, in 1 to T.
        start_step: Only timesteps below this are used, in 1 to T.

    Returns:
        Descending timesteps, never empty.

    Raises:
        ValueError: A number is out of range, or no timestep is left.
    """
    total = len(scheduler)
    if not (1 <= steps <= total and 1 <= start_step <= total):
        raise ValueError(f"steps and start_step must be in 1 to {total} but are {steps} and {start_step}")
    every: list[int] = _respaced_copy(scheduler, steps).timesteps.tolist()
    visited = [timestep for timestep in every if timestep < start_step]
    if not visited:
        raise ValueError(f"none of {steps} timesteps from {every[-1]} on lies below start_step {start_step}")
    return visited


def reverse_step(
    scheduler: DDPMScheduler, output: Tensor, timestep: int, noisy: Tensor, strength: Tensor, noise: Tensor
) -> Tensor:
    """One ancestral step with (1 + s) times the variance (RealNet, section 3.1): mean + sigma sqrt(1 + s) noise.

    Strength 0 is the ordinary step, bit for bit that of ``DDPMScheduler.step``.

    Args:
        scheduler: Defines the diffusion and the previous timestep; variance ``fixed_small``, ``fixed_large`` or
            ``learned_range``, and no dynamic thresholding.
        output: Network output, float32 [B, C, H, W], or [B, 2C, H, W] with learned variance.
        timestep: Timestep of the noisy images. At 0, the last, no noise is added.
        noisy: float32 [B, C, H, W].
        strength: s of each image, float32 [B], 0 or more.
        noise: Standard normal, float32 [B, C, H, W].

    Returns:
        The images at the previous timestep, float32 [B, C, H, W].

    Raises:
        ValueError: Unsupported scheduler or output shape.
    """
    mean, deviation = _reverse_moments(scheduler, output, timestep, noisy)
    if timestep == 0:
        return mean
    return mean + deviation * torch.sqrt(1 + strength)[:, None, None, None] * noise


def _reverse_moments(scheduler: DDPMScheduler, output: Tensor, timestep: int, noisy: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the previous images; see ``reverse_step``."""
    _check_kind(scheduler)
    prediction, fraction = split_output(scheduler, output, noisy.shape[1])
    before = int(scheduler.previous_timestep(timestep))
    alpha_bar = scheduler.alphas_cumprod[timestep]
    posterior = Posterior.between(alpha_bar, scheduler.alphas_cumprod[before] if before >= 0 else scheduler.one)
    clean = _clipped(scheduler, estimate_clean(scheduler, prediction, noisy, alpha_bar))
    return posterior.mean(clean, noisy), _deviation(scheduler, posterior, fraction)


def sample(
    scheduler: DDPMScheduler,
    denoise: Denoise,
    bases: Tensor,
    strength: Tensor,
    *,
    steps: int,
    start_step: int,
    generators: Sequence[torch.Generator],
) -> Tensor:
    """Samples from a diffusion model; greater strengths give less likely images.

    Runs under ``torch.inference_mode``. An image depends on its own generator and not on its batch, up to rounding in
    the network; noise is drawn on the CPU, so that results do not depend on the device.

    Args:
        scheduler: Diffusion of T timesteps; it is not changed.
        denoise: The network.
        bases: float32 [B, C, H, W], within the scheduler's clipping range.
        strength: s of each image, float32 [B], 0 or more.
        steps: Number of timesteps after respacing, in 1 to T.
        start_step: In 1 to T. T starts from pure noise and uses only the shape of the bases; smaller values start from
            the bases, noised to the greatest respaced timestep below it.
        generators: One CPU generator for each image.

    Returns:
        float32 [B, C, H, W], within the scheduler's clipping range, on the device of the bases.

    Raises:
        ValueError: A number is out of range, or shapes do not match.
    """
    _check_batch(bases, strength, generators)
    timesteps = respaced(scheduler, steps, start_step)
    chain = _respaced_copy(scheduler, steps)
    with torch.inference_mode():
        strength = strength.to(bases.device)
        noisy = _draw(bases, generators)
        if start_step < len(scheduler):
            noisy = _noised(chain, bases, noisy, timesteps[0])
        for timestep in timesteps:
            output = denoise(noisy, _times(bases, timestep))
            noise = _draw(bases, generators) if timestep > 0 else torch.zeros_like(bases)
            noisy = reverse_step(chain, output, timestep, noisy, strength, noise)
        return _clipped(scheduler, noisy)


def sample_variants(
    scheduler: DDPMScheduler,
    denoise: Denoise,
    bases: Tensor,
    strength: Tensor,
    base_of: Sequence[int],
    *,
    steps: int,
    perturbed_from: int,
    generators: Sequence[torch.Generator],
) -> Tensor:
    """Variants of base images, with s times the variance of the early reverse steps added; 0 gives the base itself.

    Noised copies of a base at all timesteps determine the noise with which every reverse step leads from one to the
    next, and in the end to the base. The variants go the same way with the same noise and, at the noisier steps, a
    perturbation of s times the step's variance that is smooth in space (see ``smooth_spectrum``): the light and the
    layout of the base stay, and the steps that follow make of the perturbation what the network knows of the product.

    Runs under ``torch.inference_mode``. Variants of one base share noise and perturbation, so that only the strength
    makes a difference.

    Args:
        scheduler: Diffusion of T timesteps; it is not changed.
        denoise: The network.
        bases: float32 [B, C, H, W], within the scheduler's clipping range.
        strength: s of each variant, float32 [V], 0 or more.
        base_of: The base of each variant, in 0 to B - 1.
        steps: Number of timesteps after respacing, in 1 to T.
        perturbed_from: Steps at this timestep and noisier ones are perturbed.
        generators: One CPU generator for each base.

    Returns:
        float32 [V, C, H, W], within the scheduler's clipping range, on the device of the bases.

    Raises:
        ValueError: A number is out of range, or shapes do not match.
    """
    _check_batch(bases[list(base_of)], strength, [generators[base] for base in base_of])
    timesteps = respaced(scheduler, steps, len(scheduler))
    chain, count = _respaced_copy(scheduler, steps), len(bases)
    with torch.inference_mode():
        amplitude = torch.sqrt(strength.to(bases.device))[:, None, None, None]
        spectra = [smooth_spectrum(bases.shape[-2:], generator) for generator in generators]
        followed = _noised(chain, bases, _draw(bases, generators), timesteps[0])
        variants = followed[list(base_of)]
        for timestep, following in zip(timesteps, [*timesteps[1:], None], strict=True):
            noisy = torch.cat([followed, variants])
            mean, deviation = _reverse_moments(chain, denoise(noisy, _times(noisy, timestep)), timestep, noisy)
            next_ = bases if following is None else _noised(chain, bases, _draw(bases, generators), following)
            variants = mean[count:] + (next_ - mean[:count])[list(base_of)]
            if timestep >= perturbed_from:
                noise = torch.stack([smooth_noise(bases[0], *pair) for pair in zip(spectra, generators, strict=True)])
                own = deviation if deviation.ndim == 0 else deviation[count:]
                variants = variants + own * amplitude * noise.to(bases.device)[list(base_of)]
            followed = next_
        return _clipped(scheduler, variants)


def smooth_spectrum(size: Sequence[int], generator: torch.Generator) -> Tensor:
    """The spectrum of one image's perturbation: blurs of several widths in random shares.

    White noise stays grain, which a network treats as noise; what is smooth changes structures, and defects come in
    many sizes.

    Args:
        size: (H, W).
        generator: Draws the shares.

    Returns:
        float32 [H, W // 2 + 1], factors for ``torch.fft.rfft2`` that keep the variance of white noise at 1.
    """
    rows, columns = torch.fft.fftfreq(size[0])[:, None], torch.fft.rfftfreq(size[1])
    frequency = (2 * torch.pi) ** 2 * (rows**2 + columns**2)
    shares = torch.rand(len(SDAS_BLURS), generator=generator)
    unit = pixel_scale(size)
    power = torch.zeros_like(frequency)
    for share, blur in zip(shares, SDAS_BLURS, strict=True):
        one = torch.exp(-frequency * (blur * unit) ** 2)
        power += share * one / _mean_power(one, size[1])
    return torch.sqrt(power / _mean_power(power, size[1]))


def smooth_noise(like: Tensor, spectrum: Tensor, generator: torch.Generator) -> Tensor:
    """Gaussian noise of a spectrum and, on average, variance 1; float32 [C, H, W] like the given, on the CPU."""
    white = torch.randn(like.shape, generator=generator)
    noise: Tensor = torch.fft.irfft2(torch.fft.rfft2(white) * spectrum, s=like.shape[-2:])
    return noise


def _mean_power(power: Tensor, width: int) -> Tensor:
    """Mean over all frequencies of a spectrum of which half of the columns are given."""
    weight = torch.full((power.shape[1],), 2.0)
    weight[0] = 1.0
    if width % 2 == 0:
        weight[-1] = 1.0
    return (power * weight).sum() / (len(power) * width)


def _noised(chain: DDPMScheduler, bases: Tensor, noise: Tensor, timestep: int) -> Tensor:
    # add_noise moves its scheduler's tables to the device, but the chain keeps them on the CPU.
    when = cast(torch.IntTensor, _times(bases, timestep))  # the library's narrow annotation
    return copy.copy(chain).add_noise(bases, noise, when)


def _respaced_copy(scheduler: DDPMScheduler, steps: int) -> DDPMScheduler:
    """A copy, since respacing changes the scheduler and inference tensors must not get into training."""
    chain = copy.copy(scheduler)
    # Tables on the CPU avoid device synchronisation and give equal images before and after training.
    chain.alphas_cumprod = chain.alphas_cumprod.cpu()
    chain.set_timesteps(steps)
    return chain


def _check_kind(scheduler: DDPMScheduler) -> None:
    variance = scheduler.config["variance_type"]
    if variance not in VARIANCES or scheduler.config["thresholding"]:
        raise ValueError(f"the variance type must be one of {VARIANCES} without thresholding but is {variance!r}")


def _check_batch(bases: Tensor, strength: Tensor, generators: Sequence[torch.Generator]) -> None:
    if strength.shape != bases.shape[:1] or len(generators) != len(bases):
        raise ValueError(
            f"{len(bases)} images need as many strengths and generators"
            f" but got {tuple(strength.shape)} and {len(generators)}"
        )
    if not bool(((strength >= 0) & torch.isfinite(strength)).all()):
        raise ValueError(f"strengths must be finite and 0 or more but are {strength.tolist()}")


def _clipped(scheduler: DDPMScheduler, clean: Tensor) -> Tensor:
    if not scheduler.config["clip_sample"]:
        return clean
    limit: float = scheduler.config["clip_sample_range"]
    return clean.clamp(-limit, limit)


def _deviation(scheduler: DDPMScheduler, posterior: Posterior, fraction: Tensor | None) -> Tensor:
    if fraction is not None:
        return torch.exp(0.5 * posterior.log_variance(fraction))
    large = scheduler.config["variance_type"] == "fixed_large"
    return (posterior.beta if large else posterior.variance) ** 0.5


def _draw(like: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    return torch.stack([torch.randn(like.shape[1:], generator=generator) for generator in generators]).to(like.device)


def _times(like: Tensor, timestep: int) -> Tensor:
    return torch.full((len(like),), timestep, device=like.device)
