"""Crops against a image of their coordinates, and a real training."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_sdas import TINY, Images, altered, draw_parts, odd_denoiser
from torch import Tensor

from automl_ad.synthesis.sdas import learning
from automl_ad.synthesis.sdas.denoiser import Denoiser
from automl_ad.synthesis.sdas.encoding import Encoding
from automl_ad.synthesis.sdas.learning import Crops, learn, noise_schedule
from automl_ad.synthesis.sdas.losses import diffusion_loss
from automl_ad.synthesis.sdas.settings import SdasSettings
from automl_ad.synthesis.sdas.synthesiser import as_planes
from automl_ad.training import Budget, Progress, TrainingLog


def ramps(count: int, height: int, width: int) -> Tensor:
    """Images whose pixels say in red, green and blue in which row, column and image they lie."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([torch.stack([rows, columns, torch.full_like(rows, i)]) for i in range(count)]).byte()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def whole(levels: Tensor) -> Tensor:
    """Levels 0 to 255 from -1 to 1."""
    return ((levels + 1) * 127.5).round().long()


def crops_of(images: Images, encoding: Encoding | None = None, side: int | None = 32) -> Crops:
    return Crops(as_planes(images), encoding or Encoding.of(images), side, 2)


def trained(seed: int = 0, **changes: Any) -> tuple[Denoiser, TrainingLog]:
    chosen = TINY.model_copy(update=changes)
    denoiser = odd_denoiser()
    crops = crops_of(draw_parts(6), side=chosen.crop)
    return denoiser, learn(denoiser, crops, chosen, chosen.plan(), seed, Budget())


def same(one: Denoiser, other: Denoiser) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


class TestCrops:
    @given(
        height=st.integers(8, 40),
        width=st.integers(8, 40),
        side=st.one_of(st.none(), st.integers(4, 48)),
        grid=st.sampled_from([1, 2, 4]),
        seed=st.integers(0, 1000),
    )
    @settings(deadline=None, max_examples=60)
    def test_lie_where_their_places_say(self, height: int, width: int, side: int | None, grid: int, seed: int) -> None:
        images = ramps(3, height, width)
        mean = torch.rand((3, height, width), generator=generator(seed))
        encoding = Encoding(mean, torch.eye(3), torch.eye(3))
        crops, where = Crops(images, encoding, side, grid).draw(5, generator(seed))
        h, w = (height, width) if side is None else (min(side, height), min(side, width))
        assert crops.shape == (5, 3, h, w)
        assert where.shape == (5, 5, h, w)
        seen = whole(crops + where[:, 2:])
        sides = torch.tensor([height - 1, width - 1])[:, None, None]
        assert torch.equal(seen[:, :2], ((where[:, :2] + 1) / 2 * sides).round().long())
        assert not (seen[:, :2, 0, 0] % grid).any()
        assert int(seen[:, 2].max()) <= 2

    def test_come_from_everywhere(self) -> None:
        seen = whole(Crops(ramps(3, 16, 24), Encoding.plain(16, 24), 8, 2).draw(2000, generator())[0])
        places = np.unique(seen[:, :, 0, 0].numpy(), axis=0)
        expected = [(row, column, i) for row in range(0, 9, 2) for column in range(0, 17, 2) for i in range(3)]
        assert [tuple(place) for place in places.tolist()] == expected

    @pytest.mark.parametrize("encoding", [Encoding.plain(32, 32), Encoding.of(draw_parts(6))])
    def test_are_what_the_model_sees(self, encoding: Encoding) -> None:
        images = draw_parts(1)
        crops, where = crops_of(images, encoding, None).draw(2, generator())
        expected = encoding.encode(as_planes(images)).expand(2, -1, -1, -1)
        assert crops.dtype == torch.float32
        torch.testing.assert_close(crops, expected, rtol=0, atol=1e-6)
        assert torch.equal(where, crops_of(images, encoding).positions.expand(2, -1, -1, -1))


class TestLearning:
    def test_a_short_training_learns_the_parts(self) -> None:
        chosen = TINY.model_copy(update={"steps": 60, "start_step": 400, "perturbed_from": None, "average": 0.9})
        images = draw_parts(8)
        crops = crops_of(images)
        denoiser = odd_denoiser(oddity=0)
        looks: list[Progress] = []
        log = learn(denoiser, crops, chosen, chosen.plan(rate=1e-2), 0, Budget(), looks.append)
        assert (log.steps, log.ended, looks[-1].step) == (60, "plan", 60)
        assert log.losses[-1] < 0.85 * log.losses[0]

        unseen = as_planes(draw_parts(8, seed=1))
        before, after = (loss_of(one, unseen, crops, chosen) for one in (odd_denoiser(oddity=0), denoiser))
        assert after < 0.85 * before

    def test_ends_ready_for_use(self) -> None:
        denoiser, log = trained()
        assert not denoiser.training
        assert log.steps == TINY.steps

    def test_the_same_seed_gives_the_same_weights(self) -> None:
        before = torch.get_rng_state()
        (one, log), (other, again), (third, _) = trained(5), trained(5), trained(6)
        assert same(one, other)
        assert log.losses == again.losses
        assert not same(one, third)
        assert torch.equal(torch.get_rng_state(), before)

    def test_goes_on_from_the_weights_that_it_gets(self) -> None:
        denoiser = odd_denoiser()
        before = copy.deepcopy(denoiser)
        learn(denoiser, crops_of(draw_parts(6)), TINY, TINY.plan(rate=1e-9), 0, Budget())
        for weight, original in zip(denoiser.parameters(), before.parameters(), strict=True):
            torch.testing.assert_close(weight, original, atol=1e-6, rtol=0)

    @pytest.mark.parametrize("crop", [None, 64, 16])
    def test_the_crop_may_be_larger_than_the_images(self, crop: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
        shapes = []

        def spying(scheduler: Any, denoise: Any, clean: Tensor, timesteps: Tensor, noise: Tensor) -> Tensor:
            shapes.append(tuple(clean.shape))
            return diffusion_loss(scheduler, denoise, clean, timesteps, noise)

        monkeypatch.setattr(learning, "diffusion_loss", spying)
        trained(crop=crop, steps=2)
        side = 16 if crop == 16 else 32
        assert shapes == [(4, 3, side, side)] * 2

    @pytest.mark.parametrize(("start_step", "longest"), [(8, 10), (1, 1), (1000, 1000), (None, 801)])
    def test_never_meets_more_noise_than_sampling(
        self, start_step: int | None, longest: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[int] = []

        def spying(scheduler: Any, denoise: Any, clean: Tensor, timesteps: Tensor, noise: Tensor) -> Tensor:
            assert noise.shape == clean.shape
            assert abs(float(noise.std()) - 1) < 0.2
            seen.extend(timesteps.tolist())
            return diffusion_loss(scheduler, denoise, clean, timesteps, noise)

        monkeypatch.setattr(learning, "diffusion_loss", spying)
        sampling = {} if start_step is None else {"start_step": start_step, "perturbed_from": None}
        trained(steps=40, batch=8, crop=8, **sampling)
        assert len(seen) == 320
        assert 0 <= min(seen) <= longest // 20
        assert longest * 19 // 20 <= max(seen) < longest

    def test_the_budget_ends_it(self) -> None:
        log = learn(odd_denoiser(), crops_of(draw_parts(6)), TINY, TINY.plan(), 0, Budget(seconds=0))
        assert (log.steps, log.ended) == (1, "budget")

    def test_what_diverged_is_an_error(self) -> None:
        broken = altered(odd_denoiser(), float("nan"))
        with pytest.raises(FloatingPointError, match="nan"):
            learn(broken, crops_of(draw_parts(6)), TINY, TINY.plan(), 0, Budget())

    def test_learns_its_variance(self) -> None:
        network = TINY.network.model_copy(update={"learned_variance": True})
        chosen = TINY.model_copy(update={"network": network, "predicts": "epsilon", "accumulate": 2, "decays": False})
        denoiser = odd_denoiser(network=network)
        log = learn(denoiser, crops_of(draw_parts(6)), chosen, chosen.plan(), 0, Budget())
        assert log.steps == TINY.steps
        assert not same(denoiser, odd_denoiser(network=network))


def loss_of(denoiser: Denoiser, images: Tensor, crops: Crops, chosen: SdasSettings) -> float:
    """Mean loss over the noise levels that training meets."""
    clean, where = crops.encoding.encode(images), crops.positions.expand(len(images), -1, -1, -1)
    losses = []

    def denoise(noisy: Tensor, timesteps: Tensor) -> Tensor:
        return denoiser(noisy, timesteps, where)

    with torch.inference_mode():
        for timestep in range(25, chosen.max_train_timestep, 50):
            noise = torch.randn(clean.shape, generator=generator(timestep))
            timesteps = torch.full((len(clean),), timestep)
            losses.append(float(diffusion_loss(noise_schedule(chosen), denoise, clean, timesteps, noise)))
    return float(np.mean(losses))
