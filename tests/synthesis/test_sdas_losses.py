"""The losses of the denoiser against torch's distributions and values by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from automl_ad.synthesis.sdas.losses import (
    diffusion_loss,
    gaussian_divergence,
    level_log_likelihood,
    variational_bound,
)

SHAPE = (4, 3, 5, 6)
LEVELS = torch.arange(256) / 127.5 - 1
TIMES = torch.tensor([1, 2, 500, 999])


def normal(seed: int, shape: tuple[int, ...] = SHAPE) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def clean_images(seed: int = 0) -> Tensor:
    return torch.randint(0, 256, SHAPE, generator=torch.Generator().manual_seed(seed)) / 127.5 - 1


def learning(prediction: str = "epsilon") -> DDPMScheduler:
    return DDPMScheduler(variance_type="learned_range", prediction_type=prediction)


def target(scheduler: DDPMScheduler, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    if scheduler.config.prediction_type == "epsilon":
        return noise
    return scheduler.get_velocity(clean, noise, timesteps)


class TestDivergence:
    @settings(deadline=None)
    @given(st.tuples(*[st.floats(-3, 3)] * 2), st.tuples(*[st.floats(-6, 2)] * 2))
    def test_equals_that_of_torch(self, means: tuple[float, float], logs: tuple[float, float]) -> None:
        mean, other_mean = (torch.tensor(value, dtype=torch.float64) for value in means)
        log, other_log = (torch.tensor(value, dtype=torch.float64) for value in logs)
        expected = kl_divergence(Normal(mean, (log / 2).exp()), Normal(other_mean, (other_log / 2).exp()))
        torch.testing.assert_close(gaussian_divergence(mean, log, other_mean, other_log), expected)


class TestLevels:
    @settings(deadline=None)
    @given(mean=st.floats(-1.5, 1.5), log_deviation=st.floats(-5, 1))
    def test_all_levels_together_are_certain(self, mean: float, log_deviation: float) -> None:
        likelihood = level_log_likelihood(LEVELS, torch.tensor(mean), torch.tensor(log_deviation)).exp()
        assert likelihood.sum() == pytest.approx(1, abs=1e-5)

    @pytest.mark.parametrize("mean", [-1.1, -0.31, 0.0, 0.98])
    @pytest.mark.parametrize("deviation", [0.02, 0.5])
    def test_each_level_is_the_area_around_it(self, mean: float, deviation: float) -> None:
        # Edges lie halfway between two levels; the tails belong to the outermost ones.
        edges = torch.cat([torch.tensor([-9.0]), torch.arange(-254, 256, 2) / 255, torch.tensor([9.0])]).double()
        area = Normal(torch.tensor(mean).double(), torch.tensor(deviation).double()).cdf(edges).diff()
        likelihood = level_log_likelihood(LEVELS, torch.tensor(mean), torch.tensor(math.log(deviation))).exp()
        np.testing.assert_allclose(likelihood, area, rtol=1e-3, atol=2e-12)

    def test_the_farthest_level_costs_a_finite_amount(self) -> None:
        likelihood = level_log_likelihood(torch.tensor(1.0), torch.tensor(-1.0), torch.tensor(-5.0))
        assert likelihood == pytest.approx(math.log(1e-12))


class TestBound:
    @pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
    def test_nothing_is_lost_by_the_true_posterior(self, prediction: str) -> None:
        scheduler, clean, noise = learning(prediction), clean_images(), normal(1)
        noisy = scheduler.add_noise(clean, noise, TIMES)
        truth = target(scheduler, clean, noise, TIMES)
        least = torch.cat([truth, -torch.ones(SHAPE)], 1)
        bound = variational_bound(scheduler, least, clean, noisy, TIMES)
        assert bound.shape == (4,)
        assert bound.abs().max() < 1e-4
        wrong = torch.cat([truth + 0.5, -torch.ones(SHAPE)], 1)
        assert variational_bound(scheduler, wrong, clean, noisy, TIMES)[:2].min() > 0.01

    def test_equals_the_divergence_in_bits_by_hand(self) -> None:
        scheduler, clean, noise, off, timestep = learning(), clean_images(), normal(1), normal(2), 400
        timesteps = torch.full((4,), timestep)
        noisy = scheduler.add_noise(clean, noise, timesteps)
        output = torch.cat([noise + 0.1 * off, torch.full(SHAPE, 0.2)], 1)
        betas = np.linspace(1e-4, 0.02, 1000)
        shares = np.cumprod(1 - betas)
        beta, share, before = betas[timestep], shares[timestep], shares[timestep - 1]
        least = (1 - before) / (1 - share) * beta
        # The mean of Ho et al., equation 11: the noise enters it with weight beta / sqrt(1 - share) / sqrt(1 - beta).
        apart = 0.1 * off.double() * beta / math.sqrt((1 - share) * (1 - beta))
        model = Normal(apart, math.sqrt(beta**0.6 * least**0.4))
        expected = kl_divergence(Normal(torch.zeros(SHAPE).double(), math.sqrt(least)), model)
        bound = variational_bound(scheduler, output, clean, noisy, timesteps)
        np.testing.assert_allclose(bound, expected.mean((1, 2, 3)) / math.log(2), rtol=2e-3)

    def test_the_last_timestep_is_judged_by_the_likelihood_of_the_levels(self) -> None:
        scheduler, clean, noise = learning(), clean_images(), normal(1)
        timesteps = torch.zeros(4, dtype=torch.int64)
        noisy = scheduler.add_noise(clean, noise, timesteps)
        fraction = 0.3
        bound = variational_bound(
            scheduler, torch.cat([noise, torch.full(SHAPE, fraction)], 1), clean, noisy, timesteps
        )
        first, second = 1e-4, 1e-4 + (0.02 - 1e-4) / 999
        posterior = first / (1 - (1 - first) * (1 - second)) * second
        log_variance = 0.65 * math.log(first) + 0.35 * math.log(posterior)
        likelihood = level_log_likelihood(clean, clean, torch.tensor(0.5 * log_variance))
        np.testing.assert_allclose(bound, -likelihood.mean((1, 2, 3)) / math.log(2), rtol=1e-3)

    def test_terms_of_a_batch_equal_those_alone(self) -> None:
        scheduler, clean, noise = learning(), clean_images(), normal(1)
        timesteps = torch.tensor([0, 1, 0, 999])
        noisy, output = scheduler.add_noise(clean, noise, timesteps), normal(2, (4, 6, 5, 6))
        together = variational_bound(scheduler, output, clean, noisy, timesteps)
        alone = [
            variational_bound(scheduler, *(value[i : i + 1] for value in (output, clean, noisy, timesteps)))
            for i in range(4)
        ]
        torch.testing.assert_close(together, torch.cat(alone))

    def test_needs_a_learned_variance(self) -> None:
        with pytest.raises(ValueError, match="learned_range"):
            variational_bound(DDPMScheduler(), normal(0), clean_images(), normal(1), TIMES)


class TestDiffusionLoss:
    def test_squared_error_by_hand(self) -> None:
        clean, noise = torch.zeros(2, 1, 1, 2), torch.tensor([[[[1.0, -1.0]]], [[[0.5, 2.0]]]])
        loss = diffusion_loss(
            DDPMScheduler(), lambda noisy, timesteps: torch.zeros_like(noisy), clean, torch.tensor([3, 900]), noise
        )
        assert loss.shape == ()
        assert loss.item() == pytest.approx((1 + 1 + 0.25 + 4) / 4)

    def test_the_network_sees_the_images_noised_to_their_timesteps(self) -> None:
        scheduler, clean, noise, seen = DDPMScheduler(), clean_images(), normal(1), []

        def denoise(noisy: Tensor, timesteps: Tensor) -> Tensor:
            seen.append((noisy, timesteps))
            return noise

        assert diffusion_loss(scheduler, denoise, clean, TIMES, noise) == 0
        shares = torch.from_numpy(np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))[TIMES]).float()[:, None, None, None]
        torch.testing.assert_close(seen[0][0], shares.sqrt() * clean + (1 - shares).sqrt() * noise)
        assert torch.equal(seen[0][1], TIMES)

    def test_velocity_is_that_of_diffusers(self) -> None:
        scheduler, clean, noise = DDPMScheduler(prediction_type="v_prediction"), clean_images(), normal(1)
        velocity = scheduler.get_velocity(clean, noise, TIMES)
        assert diffusion_loss(scheduler, lambda noisy, t: velocity, clean, TIMES, noise) == 0
        assert diffusion_loss(scheduler, lambda noisy, t: noise, clean, TIMES, noise) > 0.1

    @pytest.mark.parametrize("timesteps", [TIMES, torch.zeros(4, dtype=torch.int64)])
    def test_the_bound_trains_the_variance_alone(self, timesteps: Tensor) -> None:
        scheduler, clean, noise = learning(), clean_images(), normal(1)
        output = (0.01 * normal(2, (4, 6, 5, 6)) + torch.cat([noise, torch.zeros(SHAPE)], 1)).requires_grad_()
        loss = diffusion_loss(scheduler, lambda noisy, t: output, clean, timesteps, noise)
        (slope,) = torch.autograd.grad(loss, output)
        of_error = 2 * (output[:, :3] - noise) / noise.numel()
        torch.testing.assert_close(slope[:, :3], of_error.detach())
        assert (slope[:, 3:] != 0).all()

        noisy = scheduler.add_noise(clean, noise, timesteps)
        bound = variational_bound(scheduler, output, clean, noisy, timesteps).mean()
        error = torch.nn.functional.mse_loss(output[:, :3], noise)
        assert loss.item() == pytest.approx((error + bound).item(), rel=1e-5)

    def test_respacing_the_scheduler_does_not_change_the_loss(self) -> None:
        clean, noise, output = clean_images(), normal(1), normal(2, (4, 6, 5, 6))
        plain, used = learning(), learning()
        used.set_timesteps(20)
        losses = [diffusion_loss(each, lambda noisy, t: output, clean, TIMES, noise) for each in (plain, used)]
        assert torch.equal(losses[0], losses[1])

    def test_gradients_stay_finite_when_the_network_is_far_off(self) -> None:
        timesteps = torch.tensor([0, 1, 500, 999])
        output = (5 * normal(2, (4, 6, 5, 6))).requires_grad_()
        diffusion_loss(learning(), lambda noisy, t: output, clean_images(), timesteps, normal(1)).backward()
        assert output.grad is not None
        assert torch.isfinite(output.grad).all()

    def test_refuses_what_cannot_be_trained(self) -> None:
        clean, noise = clean_images(), normal(1)
        with pytest.raises(ValueError, match="must give 6 channels but gave 3"):
            diffusion_loss(learning(), lambda noisy, t: noisy, clean, TIMES, noise)
        with pytest.raises(ValueError, match="epsilon or v_prediction"):
            diffusion_loss(DDPMScheduler(prediction_type="sample"), lambda noisy, t: noisy, clean, TIMES, noise)
