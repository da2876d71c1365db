"""The sizes against the published figures, and the settings against what is derived from them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from tiny_sdas import TINY
from torch import nn

from automl_ad.methods.synthetic_training import PUBLISHED_STRENGTH
from automl_ad.synthesis.sdas.denoiser import Denoiser
from automl_ad.synthesis.sdas.learning import noise_schedule
from automl_ad.synthesis.sdas.sampling import respaced
from automl_ad.synthesis.sdas.settings import SdasSettings, Size, settings_for

SIZES: tuple[Size, ...] = ("small", "medium", "published")


@pytest.mark.parametrize(
    ("size", "least", "most", "outputs"),
    [("small", 2e6, 3e6, 3), ("medium", 20e6, 60e6, 3), ("published", 540e6, 560e6, 6)],
)
def test_the_networks_have_their_sizes(size: Size, least: float, most: float, outputs: int) -> None:
    with torch.device("meta"):
        denoiser = Denoiser(settings_for(size).network, 3)
        made = denoiser(torch.empty(1, 3, 256, 256), torch.zeros(1, dtype=torch.int64), torch.empty(1, 5, 256, 256))
    assert least < sum(weight.numel() for weight in denoiser.parameters()) < most
    assert made.shape == (1, outputs, 256, 256)


@pytest.mark.parametrize("size", SIZES)
def test_groups_of_channels_divide_them_and_hold_four_or_more(size: Size) -> None:
    with torch.device("meta"):
        norms = [m for m in Denoiser(settings_for(size).network, 3).modules() if isinstance(m, nn.GroupNorm)]
    assert norms
    assert all(norm.num_channels % norm.num_groups == 0 and norm.num_channels >= 4 * norm.num_groups for norm in norms)


@pytest.mark.parametrize("size", SIZES)
def test_the_diffusion_is_the_published_one(size: Size) -> None:
    schedule = noise_schedule(settings_for(size))
    torch.testing.assert_close(schedule.betas, torch.linspace(1e-4, 0.02, 1000))
    assert schedule.config["clip_sample"]
    assert respaced(schedule, settings_for(size).sampling_steps, 1000) == list(range(950, -1, -50))


def test_the_published_model_is_trained_as_the_paper_says() -> None:
    settings = settings_for("published")
    plan = settings.plan()
    assert [width // 256 for width in settings.network.widths] == [1, 1, 2, 2, 4, 4]
    assert [2**level for level, attends in enumerate(settings.network.attention) if attends] == [8, 16, 32]
    assert settings.batch * plan.accumulate == 60
    assert 49_000 < plan.steps * plan.accumulate < 52_000
    assert (plan.rate, plan.schedule, plan.weight_decay, plan.clip, plan.average) == (1e-4, "constant", 0, 1, 0.9999)
    assert noise_schedule(settings).config["prediction_type"] == "epsilon"
    assert noise_schedule(settings).config["variance_type"] == "learned_range"
    assert (settings.start_step, settings.max_train_timestep, settings.crop) == (1000, 1000, None)


@pytest.mark.parametrize(("size", "evaluations"), [("small", 8), ("medium", 8), ("published", 20)])
def test_a_good_image_takes_as_many_evaluations_as_timesteps_are_visited(size: Size, evaluations: int) -> None:
    settings = settings_for(size)
    assert len(respaced(noise_schedule(settings), settings.sampling_steps, settings.start_step)) == evaluations


@given(start_step=st.integers(1, 1000), steps=st.integers(2, 1000))
def test_every_timestep_that_sampling_visits_was_trained(start_step: int, steps: int) -> None:
    settings = TINY.model_copy(update={"start_step": start_step, "sampling_steps": steps, "variant_steps": steps})
    published = settings.model_copy(update={"perturbed_from": None})
    schedule = noise_schedule(settings)
    assert max(respaced(schedule, steps, start_step)) < published.max_train_timestep <= settings.timesteps
    assert max(respaced(schedule, steps, 1000)) < settings.max_train_timestep <= settings.timesteps


def test_sampling_that_starts_low_spares_the_training_long_noise() -> None:
    assert TINY.model_copy(update={"start_step": 400, "perturbed_from": None}).max_train_timestep == 500
    assert TINY.max_train_timestep == 801  # the first of the five timesteps of a variant


@pytest.mark.parametrize("size", SIZES)
def test_strengths_of_the_published_model_are_those_of_the_paper(size: Size) -> None:
    scale = settings_for(size).scale
    if size == "published":
        assert scale is not None
        assert [scale.added_variance(strength) for strength in PUBLISHED_STRENGTH] == [0.1, 0.2]
    else:
        assert scale is None


@pytest.mark.parametrize(
    ("share", "steps", "warmup"), [(1.0, 400, 40), (0.5, 200, 20), (0.01, 4, 0), (1e-9, 1, 0), (5.0, 2000, 50)]
)
def test_a_share_of_the_training(share: float, steps: int, warmup: int) -> None:
    plan = settings_for("small").plan(share)
    assert (plan.steps, plan.warmup, plan.rate, plan.schedule) == (steps, warmup, 1e-3, "cosine")


def test_another_rate_takes_the_place_of_the_settings() -> None:
    assert settings_for("small").plan(rate=2e-5).rate == 2e-5


@pytest.mark.parametrize("size", SIZES)
def test_settings_survive_json(size: Size) -> None:
    settings = settings_for(size)
    assert SdasSettings.model_validate_json(settings.model_dump_json()) == settings


@pytest.mark.parametrize("change", [{"step": 5}, {"sampling_steps": 1}, {"start_step": 0}, {"predicts": "sample"}])
def test_impossible_settings_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(change))):
        SdasSettings(**{**TINY.model_dump(), **change})
