"""Sampling against diffusers' own steps, the added variance against its definition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from automl_ad.synthesis.sdas.sampling import (
    Denoise,
    respaced,
    reverse_step,
    sample,
    sample_variants,
    smooth_noise,
    smooth_spectrum,
)

SHAPE = (2, 3, 6, 5)
TOTAL = 1000


def scheduler_of(**changes: Any) -> DDPMScheduler:
    return DDPMScheduler(**changes)


def seeded(count: int, first: int = 0) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(first + index) for index in range(count)]


def normal(seed: int, shape: tuple[int, ...] = SHAPE) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def images(seed: int, count: int = 3) -> Tensor:
    return torch.rand((count, *SHAPE[1:]), generator=torch.Generator().manual_seed(seed)) * 2 - 1


def toy_network(outputs: int) -> Denoise:
    """Elementwise in the batch, so that its rounding cannot depend on it."""

    def denoise(noisy: Tensor, timesteps: Tensor) -> Tensor:
        assert timesteps.dtype == torch.int64
        assert timesteps.shape == noisy.shape[:1]
        level = timesteps[:, None, None, None] / TOTAL
        return torch.cat([noisy * 0.7 + level.sin(), (noisy + level).tanh()], 1)[:, : outputs * noisy.shape[1]]

    return denoise


def knows(clean: Tensor, scheduler: DDPMScheduler) -> Denoise:
    """A denoiser that knows the image under the noise."""

    def denoise(noisy: Tensor, timesteps: Tensor) -> Tensor:
        share = scheduler.alphas_cumprod[timesteps][:, None, None, None]
        noise = (noisy - share.sqrt() * clean) / (1 - share).sqrt()
        if scheduler.config.prediction_type == "epsilon":
            return noise
        return share.sqrt() * noise - (1 - share).sqrt() * clean

    return denoise


class TestReverseStep:
    @settings(deadline=None, max_examples=150)
    @given(
        position=st.floats(0, 1),
        seed=st.integers(0, 10_000),
        steps=st.sampled_from([20, 30, 50, TOTAL, None]),
        prediction=st.sampled_from(["epsilon", "v_prediction", "sample"]),
        variance=st.sampled_from(["fixed_small", "fixed_large", "learned_range"]),
        spacing=st.sampled_from(["leading", "linspace", "trailing"]),
        clips=st.booleans(),
    )
    @example(1.0, 0, 20, "epsilon", "learned_range", "trailing", True)  # the last step, at timestep 49, is noisy
    def test_strength_zero_is_the_step_of_diffusers_to_the_last_bit(
        self, position: float, seed: int, steps: int | None, prediction: str, variance: str, spacing: str, clips: bool
    ) -> None:
        scheduler = scheduler_of(
            prediction_type=prediction, variance_type=variance, timestep_spacing=spacing, clip_sample=clips
        )
        if steps is not None:
            scheduler.set_timesteps(steps)
        chain = scheduler.timesteps.tolist()
        timestep = chain[round(position * (len(chain) - 1))]
        noisy = normal(seed)
        output = normal(seed + 1, (2, 6 if variance == "learned_range" else 3, 6, 5))
        expected = scheduler.step(output, timestep, noisy, generator=seeded(1, seed + 2)[0]).prev_sample
        ours = reverse_step(scheduler, output, timestep, noisy, torch.zeros(2), normal(seed + 2))
        assert torch.equal(ours, expected)

    @pytest.mark.parametrize("steps", [20, 50])
    @pytest.mark.parametrize("kind", ["fixed_small", "fixed_large", "learned_range"])
    def test_variance_is_that_of_the_schedule_times_one_plus_the_strength(self, kind: str, steps: int) -> None:
        shares = np.cumprod(1 - np.linspace(1e-4, 0.02, TOTAL))
        stride, timestep = TOTAL // steps, 3 * TOTAL // steps
        beta = 1 - shares[timestep] / shares[timestep - stride]
        least = (1 - shares[timestep - stride]) / (1 - shares[timestep]) * beta
        by_hand = {"fixed_small": least, "fixed_large": beta, "learned_range": beta**0.75 * least**0.25}[kind]

        scheduler = scheduler_of(variance_type=kind)
        scheduler.set_timesteps(steps)
        noisy, output = torch.zeros(3, 1, 200, 200), torch.zeros(3, 2 if kind == "learned_range" else 1, 200, 200)
        output[:, 1:] = 0.5  # three quarters of the way from the least to the largest variance
        strength = torch.tensor([0.0, 0.15, 3.0])
        variance = by_hand * np.array([1, 1.15, 4])
        drawn = reverse_step(scheduler, output, timestep, noisy, strength, normal(0, noisy.shape))
        mean = reverse_step(scheduler, output, timestep, noisy, strength, torch.zeros_like(noisy))
        np.testing.assert_allclose((drawn - mean).var((1, 2, 3)), variance, rtol=0.03)

        other = reverse_step(scheduler, output, timestep, noisy, strength, torch.ones_like(noisy))
        np.testing.assert_allclose((other - mean)[:, 0, 0, 0], np.sqrt(variance), rtol=1e-4)

    def test_the_last_step_is_free_of_noise(self) -> None:
        scheduler, noisy, output = scheduler_of(), normal(0), normal(1)
        step = [reverse_step(scheduler, output, 0, noisy, torch.ones(2), normal(seed)) for seed in (2, 3)]
        assert torch.equal(step[0], step[1])

    def test_each_image_has_its_own_strength(self) -> None:
        scheduler, noisy, output, noise = scheduler_of(), normal(0), normal(1), normal(2)
        both = reverse_step(scheduler, output, 500, noisy, torch.tensor([0.0, 0.5]), noise)
        for index, strength in enumerate([0.0, 0.5]):
            uniform = reverse_step(scheduler, output, 500, noisy, torch.full((2,), strength), noise)
            assert torch.equal(both[index], uniform[index])
            assert not torch.equal(both[1 - index], uniform[1 - index])

    @pytest.mark.parametrize(
        "changes",
        [{"variance_type": "learned"}, {"variance_type": "fixed_small_log"}, {"thresholding": True}],
    )
    def test_refuses_schedulers_whose_step_it_does_not_know(self, changes: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="variance type"):
            reverse_step(scheduler_of(**changes), normal(0), 5, normal(0), torch.zeros(2), normal(1))

    @pytest.mark.parametrize(("kind", "channels"), [("fixed_small", 6), ("learned_range", 3)])
    def test_refuses_outputs_that_do_not_fit_the_scheduler(self, kind: str, channels: int) -> None:
        output = normal(0, (2, channels, 6, 5))
        with pytest.raises(ValueError, match=f"gave {channels}"):
            reverse_step(scheduler_of(variance_type=kind), output, 5, normal(0), torch.zeros(2), normal(1))


class TestRespaced:
    @settings(deadline=None)
    @given(
        steps=st.integers(1, 60),
        start=st.integers(1, TOTAL),
        spacing=st.sampled_from(["leading", "linspace", "trailing"]),
    )
    def test_keeps_what_diffusers_visits_below_the_start(self, steps: int, start: int, spacing: str) -> None:
        reference = scheduler_of(timestep_spacing=spacing)
        reference.set_timesteps(steps)
        expected = [int(timestep) for timestep in reference.timesteps if timestep < start]
        scheduler = scheduler_of(timestep_spacing=spacing)
        if expected:
            assert respaced(scheduler, steps, start) == expected
        else:
            with pytest.raises(ValueError, match="lies below start_step"):
                respaced(scheduler, steps, start)

    def test_values_by_hand(self) -> None:
        scheduler = scheduler_of()
        assert respaced(scheduler, 20, TOTAL) == list(range(950, -1, -50))
        assert respaced(scheduler, 20, 101) == [100, 50, 0]
        assert respaced(scheduler, 20, 100) == [50, 0]
        assert respaced(scheduler, 20, 1) == [0]
        assert respaced(scheduler, TOTAL, TOTAL) == list(range(TOTAL - 1, -1, -1))
        assert respaced(scheduler_of(timestep_spacing="trailing"), 20, 50) == [49]

    @pytest.mark.parametrize(("steps", "start"), [(0, 5), (TOTAL + 1, 5), (20, 0), (20, TOTAL + 1)])
    def test_refuses_numbers_out_of_range(self, steps: int, start: int) -> None:
        with pytest.raises(ValueError, match="1 to 1000"):
            respaced(scheduler_of(), steps, start)

    def test_refuses_a_start_below_all_timesteps(self) -> None:
        with pytest.raises(ValueError, match="49 on lies below start_step 49"):
            respaced(scheduler_of(timestep_spacing="trailing"), 20, 49)

    def test_leaves_the_scheduler_as_it_was(self) -> None:
        scheduler = scheduler_of()
        respaced(scheduler, 20, 400)
        assert scheduler.num_inference_steps is None
        assert scheduler.timesteps.tolist() == list(range(TOTAL - 1, -1, -1))


def chain_of_diffusers(
    scheduler: DDPMScheduler, denoise: Denoise, noisy: Tensor, generators: Any, start: int
) -> Tensor:
    for timestep in scheduler.timesteps.tolist():
        if timestep < start:
            output = denoise(noisy, torch.full((len(noisy),), timestep))
            noisy = scheduler.step(output, timestep, noisy, generator=generators).prev_sample
    return noisy.clamp(-1, 1)


class TestSample:
    @pytest.mark.parametrize("kind", ["fixed_small", "learned_range"])
    @pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
    def test_strength_zero_from_noise_is_the_chain_of_diffusers(self, prediction: str, kind: str) -> None:
        scheduler = scheduler_of(prediction_type=prediction, variance_type=kind)
        denoise = toy_network(2 if kind == "learned_range" else 1)
        ours = sample(scheduler, denoise, images(0), torch.zeros(3), steps=20, start_step=TOTAL, generators=seeded(3))
        scheduler.set_timesteps(20)
        generators = seeded(3)
        noisy = torch.stack([torch.randn(SHAPE[1:], generator=generator) for generator in generators])
        assert torch.equal(ours, chain_of_diffusers(scheduler, denoise, noisy, generators, TOTAL))

    def test_strength_zero_from_bases_is_the_chain_of_diffusers(self) -> None:
        scheduler, bases = scheduler_of(), images(0)
        ours = sample(scheduler, toy_network(1), bases, torch.zeros(3), steps=50, start_step=400, generators=seeded(3))
        scheduler.set_timesteps(50)
        generators = seeded(3)
        noise = torch.stack([torch.randn(SHAPE[1:], generator=generator) for generator in generators])
        noisy = scheduler.add_noise(bases, noise, torch.full((3,), 380))
        assert torch.equal(ours, chain_of_diffusers(scheduler, toy_network(1), noisy, generators, 400))

    @pytest.mark.parametrize("start", [1, 400, TOTAL])
    @pytest.mark.parametrize("strength", [0.0, 0.2])
    @pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
    def test_a_perfect_denoiser_recovers_the_base(self, prediction: str, strength: float, start: int) -> None:
        scheduler, bases = scheduler_of(prediction_type=prediction), images(0)
        drawn = sample(
            scheduler,
            knows(bases, scheduler),
            bases,
            torch.full((3,), strength),
            steps=20,
            start_step=start,
            generators=seeded(3),
        )
        torch.testing.assert_close(drawn, bases, atol=1e-4, rtol=0)

    @settings(deadline=None, max_examples=15)
    @given(start=st.sampled_from([300, TOTAL]), seed=st.integers(0, 1000))
    def test_a_image_does_not_depend_on_its_batch(self, start: int, seed: int) -> None:
        scheduler, bases, strength = scheduler_of(), images(seed), torch.tensor([0.0, 0.2, 1.0])
        together = sample(
            scheduler, toy_network(1), bases, strength, steps=20, start_step=start, generators=seeded(3, seed)
        )
        for index in range(3):
            one = slice(index, index + 1)
            alone = sample(
                scheduler,
                toy_network(1),
                bases[one],
                strength[one],
                steps=20,
                start_step=start,
                generators=seeded(1, seed + index),
            )
            assert torch.equal(together[one], alone)

    def test_pure_noise_takes_only_the_shape_of_the_bases(self) -> None:
        def draw(bases: Tensor, start: int) -> Tensor:
            return sample(
                scheduler_of(), toy_network(1), bases, torch.ones(3), steps=20, start_step=start, generators=seeded(3)
            )

        assert torch.equal(draw(images(0), TOTAL), draw(images(1), TOTAL))
        assert not torch.equal(draw(images(0), TOTAL - 1), draw(images(1), TOTAL - 1))

    def test_strength_takes_images_farther_from_the_normal_ones(self) -> None:
        def denoise(noisy: Tensor, timesteps: Tensor) -> Tensor:
            """The best denoiser of white images with a standard deviation of 0.1."""
            share = scheduler.alphas_cumprod[timesteps][:, None, None, None]
            return (1 - share).sqrt() * noisy / (share * 0.01 + 1 - share)

        scheduler = scheduler_of()
        bases = torch.zeros(4, 3, 48, 48)
        strength = torch.tensor([0.0, 0.2, 0.5, 1.0])
        drawn = sample(scheduler, denoise, bases, strength, steps=20, start_step=TOTAL, generators=seeded(4))
        spread = drawn.std((1, 2, 3)).tolist()
        assert spread == sorted(spread)
        assert spread[3] > 1.2 * spread[0]

    @pytest.mark.parametrize("reach", [0.5, 1.0, 1.5, None])
    def test_result_is_clipped_as_its_scheduler_does(self, reach: float | None) -> None:
        """Without clipping the network used here would take images past 4."""
        clips = {"clip_sample": False} if reach is None else {"clip_sample_range": reach}
        drawn = sample(
            scheduler_of(**clips),
            toy_network(1),
            images(0),
            torch.zeros(3),
            steps=20,
            start_step=TOTAL,
            generators=seeded(3),
        )
        assert drawn.dtype == torch.float32
        farthest = float(drawn.abs().max())
        assert farthest > 4 if reach is None else farthest == reach

    def test_noise_of_the_last_step_does_not_carry_images_past_the_clipping(self) -> None:
        """Trailing timesteps end above 0, where noise is still added."""
        scheduler = scheduler_of(timestep_spacing="trailing", variance_type="fixed_large")
        bases, strength = images(0).sign(), torch.full((3,), 8.0)
        drawn = sample(
            scheduler, knows(bases, scheduler), bases, strength, steps=20, start_step=400, generators=seeded(3)
        )
        assert drawn.abs().max() == 1
        assert drawn.abs().min() < 0.9

    def test_leaves_the_scheduler_fit_for_training(self) -> None:
        scheduler, weight = scheduler_of(), torch.ones(1, requires_grad=True)
        sample(scheduler, toy_network(1), images(0), torch.ones(3), steps=20, start_step=400, generators=seeded(3))
        assert scheduler.num_inference_steps is None
        assert not scheduler.alphas_cumprod.is_inference()
        (scheduler.alphas_cumprod * weight).sum().backward()
        assert weight.grad is not None

    def test_no_gradient_is_kept(self) -> None:
        weight = torch.ones(1, requires_grad=True)
        drawn = sample(
            scheduler_of(),
            lambda noisy, timesteps: noisy * weight,
            images(0),
            torch.ones(3),
            steps=20,
            start_step=100,
            generators=seeded(3),
        )
        assert not drawn.requires_grad

    @pytest.mark.parametrize(
        ("strength", "generators", "message"),
        [
            (torch.zeros(2), lambda: seeded(3), "as many"),
            (torch.zeros(3), lambda: seeded(2), "as many"),
            (torch.zeros(3, 1), lambda: seeded(3), "as many"),
            (torch.tensor([0.0, -0.1, 0.0]), lambda: seeded(3), "0 or more"),
            (torch.tensor([0.0, float("nan"), 0.0]), lambda: seeded(3), "0 or more"),
            (torch.tensor([0.0, float("inf"), 0.0]), lambda: seeded(3), "0 or more"),
        ],
    )
    def test_refuses_arguments_that_do_not_fit(
        self, strength: Tensor, generators: Callable[[], list[torch.Generator]], message: str
    ) -> None:
        with pytest.raises(ValueError, match=message):
            sample(
                scheduler_of(),
                toy_network(1),
                images(0),
                strength,
                steps=20,
                start_step=400,
                generators=generators(),
            )


def variants(
    bases: Tensor, added: list[float], base_of: list[int], denoise: Denoise | None = None, **changes: Any
) -> Tensor:
    given_ = {"steps": 5, "perturbed_from": 500, "generators": seeded(len(bases))} | changes
    return sample_variants(scheduler_of(), denoise or toy_network(1), bases, torch.tensor(added), base_of, **given_)


class TestVariants:
    @pytest.mark.parametrize("kind", ["fixed_small", "fixed_large", "learned_range"])
    @pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
    def test_without_added_variance_any_network_leads_back_to_the_base(self, prediction: str, kind: str) -> None:
        scheduler, bases = scheduler_of(prediction_type=prediction, variance_type=kind), images(0)
        denoise = toy_network(2 if kind == "learned_range" else 1)
        drawn = sample_variants(
            scheduler, denoise, bases, torch.zeros(3), [0, 1, 2], steps=5, perturbed_from=0, generators=seeded(3)
        )
        torch.testing.assert_close(drawn, bases, atol=1e-5, rtol=0)

    def test_a_denoiser_that_knows_the_image_undoes_every_perturbation(self) -> None:
        bases = images(0)
        knowing = knows(bases[[0, 1, 2, 0, 1, 2]], scheduler_of())  # the bases, then their variants
        drawn = variants(bases, [0.5, 2.0, 8.0], [0, 1, 2], knowing)
        torch.testing.assert_close(drawn, bases, atol=1e-4, rtol=0)

    def test_one_perturbed_step_by_hand(self) -> None:
        """A network that predicts no noise passes a perturbation on: each mean holds a known share of it."""
        scheduler, bases = scheduler_of(clip_sample=False), torch.zeros(1, 1, 32, 32)

        def silent(noisy: Tensor, timesteps: Tensor) -> Tensor:
            return torch.zeros_like(noisy)

        drawn = sample_variants(
            scheduler, silent, bases, torch.tensor([0.25]), [0], steps=5, perturbed_from=800, generators=seeded(1)
        )
        # The clean image is estimated as x / sqrt(alpha_bar), so x_before = x / sqrt(alpha) at every step.
        bars = scheduler.alphas_cumprod
        alpha = bars[800] / bars[600]
        deviation = ((1 - bars[600]) / (1 - bars[800]) * (1 - alpha)) ** 0.5
        expected = 0.5 * deviation / bars[600] ** 0.5
        assert float(drawn.std()) == pytest.approx(float(expected), rel=0.6)  # one draw of smooth noise
        noise = drawn / expected
        generator = seeded(1)[0]
        spectrum = smooth_spectrum((32, 32), generator)
        torch.randn(2, 1, 32, 32, generator=generator)  # the noise of the first two timesteps of the base's chain
        torch.testing.assert_close(noise[0], smooth_noise(bases[0], spectrum, generator), atol=1e-3, rtol=1e-3)

    def test_more_added_variance_takes_images_farther_from_the_base(self) -> None:
        bases = images(0)[:1]
        drawn = variants(bases, [0.0, 0.01, 0.1, 1.0], [0] * 4)
        away = (drawn - bases).abs().mean((1, 2, 3)).tolist()
        assert away == sorted(away)
        assert away[0] < 1e-5 < away[1]

    def test_variants_of_one_base_share_their_perturbation(self) -> None:
        bases = torch.zeros(2, *SHAPE[1:])
        drawn = variants(bases, [0.01, 0.0121, 0.01], [0, 0, 1])
        torch.testing.assert_close(drawn[1], drawn[0] * 1.1, atol=0.02, rtol=0)
        assert (drawn[2] - drawn[0]).abs().mean() > 3 * (drawn[1] - drawn[0]).abs().mean()

    def test_steps_below_the_limit_are_not_perturbed(self) -> None:
        bases = images(0)
        away = [
            float((variants(bases, [9.0] * 3, [0, 1, 2], perturbed_from=first) - bases).abs().max())
            for first in (801, 800)
        ]
        assert away[0] < 1e-5
        assert away[1] > 0.1

    def test_nothing_depends_on_the_batch_or_leaves_a_trace(self) -> None:
        bases, before = images(0), torch.get_rng_state()
        together = variants(bases, [0.1, 0.5, 2.0], [2, 0, 1])
        for place, base in enumerate([2, 0, 1]):
            alone = variants(bases[base : base + 1], [[0.1, 0.5, 2.0][place]], [0], generators=seeded(1, base))
            assert torch.equal(alone[0], together[place])
        assert torch.equal(torch.get_rng_state(), before)
        assert torch.equal(bases, images(0))

    def test_results_stay_in_the_range_of_the_scheduler(self) -> None:
        drawn = variants(images(0), [1e4] * 3, [0, 1, 2])
        assert float(drawn.abs().max()) == 1

    def test_refuses_arguments_that_do_not_fit(self) -> None:
        with pytest.raises(ValueError, match="as many"):
            variants(images(0), [0.1] * 2, [0, 1, 2])
        with pytest.raises(ValueError, match="0 or more"):
            variants(images(0), [-0.1] * 3, [0, 1, 2])


class TestSmoothNoise:
    @pytest.mark.parametrize("size", [(256, 256), (192, 257)])
    def test_has_variance_1_on_average_and_is_smooth(self, size: tuple[int, int]) -> None:
        generators = seeded(20)
        noises = torch.stack(
            [smooth_noise(torch.empty(3, *size), smooth_spectrum(size, one), one) for one in generators]
        )
        assert float(noises.var()) == pytest.approx(1.0, abs=0.15)
        assert float(noises.mean()) == pytest.approx(0.0, abs=0.1)
        neighbours = (noises[..., 1:] - noises[..., :-1]).pow(2).mean()
        assert float(neighbours) < 0.5 < 2 * float(noises.var())  # of white noise it is twice the variance

    def test_images_differ_in_how_smooth_theirs_is(self) -> None:
        spectra = [smooth_spectrum((64, 64), generator) for generator in seeded(20)]
        shares = [float((s[:4, :4] ** 2).sum() / (s**2).sum()) for s in spectra]
        assert max(shares) > 1.5 * min(shares)
