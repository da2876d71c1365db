"""The network by what its output depends on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_sdas import NETWORK, odd_denoiser
from torch import Tensor

from automl_ad.synthesis.sdas.denoiser import Denoiser, position_channels
from automl_ad.synthesis.sdas.settings import NetworkSettings

ATTENTIVE = NetworkSettings(widths=(8, 16), attention=(False, True), head_channels=8)
LEARNED = NetworkSettings(patch=2, widths=(16, 16), attention=(False, False), learned_variance=True)
PUBLISHED = NetworkSettings(
    widths=(8, 16),
    layers=2,
    attention=(False, True),
    head_channels=8,
    published_blocks=True,
    learned_variance=True,
    placed=False,
)
NETWORKS = [NETWORK, ATTENTIVE, LEARNED, PUBLISHED]


def noisy(count: int = 2, channels: int = 3, height: int = 32, width: int = 32, seed: int = 0) -> Tensor:
    return torch.randn((count, channels, height, width), generator=torch.Generator().manual_seed(seed))


def places(count: int = 2, height: int = 32, width: int = 32, level: float = 0.0) -> Tensor:
    """Of images whose mean is flat."""
    return position_channels(torch.full((3, height, width), level)).expand(count, -1, -1, -1)


def times(*values: int) -> Tensor:
    return torch.tensor(values)


class TestPlaces:
    def test_by_hand(self) -> None:
        mean = torch.arange(45.0).reshape(3, 3, 5)
        rows, columns, *rest = position_channels(mean).numpy()
        np.testing.assert_allclose(rows, np.array([[-1], [0], [1]]).repeat(5, axis=1))
        np.testing.assert_allclose(columns, np.array([[-1, -0.5, 0, 0.5, 1]]).repeat(3, axis=0))
        np.testing.assert_array_equal(rest, mean)


class TestDenoiser:
    @pytest.mark.parametrize("network", NETWORKS)
    @pytest.mark.parametrize(("height", "width"), [(32, 32), (16, 40), (64, 48), (4, 4)])
    @pytest.mark.parametrize("channels", [1, 3])
    @torch.inference_mode()
    def test_takes_images_of_any_size(self, network: NetworkSettings, height: int, width: int, channels: int) -> None:
        output = odd_denoiser(network=network, channels=channels)(
            noisy(2, channels, height, width), times(3, 700), places(2, height, width)
        )
        assert output.shape == (2, channels * (2 if network.learned_variance else 1), height, width)
        assert output.dtype == torch.float32
        assert bool(torch.isfinite(output).all())

    @pytest.mark.parametrize("network", NETWORKS)
    @torch.inference_mode()
    def test_predicts_nothing_before_it_has_learned(self, network: NetworkSettings) -> None:
        output = Denoiser(network, 3)(noisy(), times(0, 999), places())
        assert torch.equal(output, torch.zeros_like(output))

    @torch.inference_mode()
    def test_the_same_crop_elsewhere_looks_different(self) -> None:
        denoiser, crop, where = odd_denoiser(), noisy(1), places(1, 64, 64)
        at = {
            (top, left): denoiser(crop, times(50), where[:, :, top : top + 32, left : left + 32])
            for top in (0, 32)
            for left in (0, 32)
        }
        here = at.pop((0, 0))
        assert all(float((here - there).abs().mean()) > 0.01 for there in at.values())
        assert float((at[0, 32] - at[32, 0]).abs().mean()) > 0.01

    @torch.inference_mode()
    def test_another_mean_of_the_good_images_looks_different(self) -> None:
        denoiser, crop = odd_denoiser(), noisy(1)
        here, there = (denoiser(crop, times(50), places(1, level=level)) for level in (0.2, 0.8))
        assert float((here - there).abs().mean()) > 0.01

    @torch.inference_mode()
    def test_one_that_is_not_placed_does_not_look_where_it_is(self) -> None:
        denoiser, crop = odd_denoiser(network=PUBLISHED), noisy(1)
        here, there = (denoiser(crop, times(50), place) for place in (places(1), places(1, 64, 64)[:, :, :32, 32:]))
        assert torch.equal(here, there)

    @torch.inference_mode()
    def test_depends_on_the_noise_level(self) -> None:
        denoiser, crop = odd_denoiser(), noisy(1)
        early, late = (denoiser(crop, times(t), places(1)) for t in (10, 900))
        assert float((early - late).abs().mean()) > 0.01

    @pytest.mark.parametrize("network", NETWORKS)
    @torch.inference_mode()
    def test_images_do_not_mix(self, network: NetworkSettings) -> None:
        denoiser, images, where = odd_denoiser(network=network), noisy(3), places(3, 40, 32)[:, :, 4:36]
        together = denoiser(images, times(5, 300, 990), where)
        for index, timestep in enumerate((5, 300, 990)):
            alone = denoiser(images[index : index + 1], times(timestep), where[:1])
            torch.testing.assert_close(together[index : index + 1], alone, atol=1e-4, rtol=1e-4)

    @torch.inference_mode()
    def test_the_layout_in_memory_does_not_matter(self) -> None:
        last = torch.channels_last
        plain, turned = odd_denoiser(), odd_denoiser().to(memory_format=last)
        expected = plain(noisy(), times(5, 300), places())
        for denoiser in (plain, turned):
            output = denoiser(noisy().contiguous(memory_format=last), times(5, 300), places().contiguous())
            torch.testing.assert_close(output, expected, atol=1e-4, rtol=1e-4)

    @torch.inference_mode()
    def test_the_variance_comes_after_the_prediction(self) -> None:
        denoiser = Denoiser(LEARNED, 3)
        bias = denoiser.network.conv_out.bias
        assert len(bias) == 24  # three channels, folded by four, twice
        bias[:12], bias[12:] = 1, 2
        output = denoiser(noisy(), times(1, 2), places())
        assert torch.equal(output[:, :3], torch.ones(2, 3, 32, 32))
        assert torch.equal(output[:, 3:], torch.full((2, 3, 32, 32), 2.0))

    @pytest.mark.parametrize("network", NETWORKS)
    def test_every_weight_learns(self, network: NetworkSettings) -> None:
        denoiser = odd_denoiser(network=network)
        denoiser(noisy(), times(5, 300), places()).square().mean().backward()
        idle = [name for name, weight in denoiser.named_parameters() if weight.grad is None or not weight.grad.any()]
        assert idle == []

    @pytest.mark.parametrize(("network", "divisor"), [(NETWORK, 4), (ATTENTIVE, 2)])
    @torch.inference_mode()
    def test_sides_must_be_multiples_of_the_divisor(self, network: NetworkSettings, divisor: int) -> None:
        assert network.divisor == divisor
        denoiser, side = odd_denoiser(network=network), 5 * divisor
        assert denoiser(noisy(1, 3, side, side), times(5), places(1, side, side)).shape[-1] == side
