"""RealNet's trained part: what reaches the discriminator, and what comes out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from handmade import noise
from torch import Tensor, nn
from torch.nn import functional

from automl_ad.methods.realnet.head import Discriminator, Network, PlainBlock, RealNetHead
from automl_ad.methods.realnet.selection import Mode


def head_of(network: Network = "light", mode: Mode = "both", kept: int = 8) -> RealNetHead:
    """A head in evaluation mode, warmed up on noise, for levels of 20 and 24 channels of which it takes 16 each."""
    torch.manual_seed(0)
    selected = [torch.arange(16) + 3, torch.arange(16).flip(0)]
    head = RealNetHead(selected, kept, mode, network)
    with torch.no_grad():
        for seed in range(3):
            head(levels_of(4, seed))
    return head.eval()


def levels_of(count: int, seed: int = 0, size: tuple[int, int] = (8, 8)) -> list[Tensor]:
    """Two levels of noise, the second half as fine."""
    half = (-(-size[0] // 2), -(-size[1] // 2))
    return [noise(count, 20, *size, seed=seed), noise(count, 24, *half, seed=seed + 100)]


def test_the_discriminator_has_the_published_size() -> None:
    with torch.device("meta"):
        judge = Discriminator(512)
    assert sum(weight.numel() for weight in judge.parameters()) / 1e6 == pytest.approx(5.87, abs=0.005)


def test_a_plain_block_by_hand() -> None:
    block = PlainBlock(3)
    image = noise(1, 3, 5, 4)
    inner = functional.conv2d(image.clamp_min(0), block.body[1].weight, padding=1).clamp_min(0)
    by_hand = image + torch.einsum("oc,bchw->bohw", block.body[3].weight[:, :, 0, 0], inner)
    torch.testing.assert_close(block(image), by_hand)


@pytest.mark.parametrize("size", [(4, 4), (5, 7)])
def test_the_discriminator_doubles_the_resolution(size: tuple[int, int]) -> None:
    logits = Discriminator(6).eval()(noise(2, 6, *size))
    assert logits.shape == (2, 2, 2 * size[0], 2 * size[1])


def test_the_map_is_the_log_odds_of_anomalous() -> None:
    head, maps = head_of(), levels_of(3, seed=9)
    with torch.no_grad():
        features = [maps[0][:, 3:19], maps[1][:, :16].flip(1)]
        logits = head.logits(features, head.rebuilt(features))
        result = head(maps)
    assert result.shape == (3, 16, 16)
    torch.testing.assert_close(result, logits[:, 1] - logits[:, 0], rtol=0, atol=0)
    share = torch.softmax(logits, 1)[:, 1]
    torch.testing.assert_close(torch.sigmoid(result), share)


@pytest.mark.parametrize("place", [0, 1])
def test_channels_that_were_not_selected_do_not_matter(place: int) -> None:
    head, maps = head_of(), levels_of(2, seed=9)
    changed = [level.clone() for level in maps]
    selected = head.get_buffer(f"selected_{place}").tolist()
    spared = [channel for channel in range(maps[place].shape[1]) if channel not in selected]
    changed[place][:, spared] += 100
    with torch.no_grad():
        torch.testing.assert_close(head(changed), head(maps), rtol=0, atol=0)
        changed[place][:, selected[0]] += 100
        assert float((head(changed) - head(maps)).abs().max()) > 0.001


def enlarged(level: npt.NDArray[np.float64], size: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Bilinear with corners on corners, written out for one channel."""
    rows, columns = (np.linspace(0, have - 1, want) for have, want in zip(level.shape, size, strict=True))
    tall = np.stack([np.interp(rows, np.arange(level.shape[0]), column) for column in level.T], 1)
    return np.stack([np.interp(columns, np.arange(level.shape[1]), row) for row in tall])


def test_squared_residuals_of_all_levels_meet_on_the_finest_grid() -> None:
    class Keeper(nn.Module):
        def forward(self, residuals: Tensor) -> Tensor:
            self.seen = residuals
            return residuals[:, :2]

    head = head_of()
    keeper: Any = Keeper()
    head.select, head.judge = nn.Identity(), keeper
    features = [noise(1, 16, 6, 4), noise(1, 16, 3, 2, seed=1)]
    rebuilt = [noise(1, 16, 6, 4, seed=2), noise(1, 16, 3, 2, seed=3)]
    head.logits(features, rebuilt)
    fine, coarse = (
        (level - targets).double().numpy()[0] ** 2 for level, targets in zip(features, rebuilt, strict=True)
    )
    by_hand = np.concatenate([fine, [enlarged(level, (6, 4)) for level in coarse]])
    np.testing.assert_allclose(keeper.seen[0].numpy(), by_hand, atol=1e-5)


@pytest.mark.parametrize("network", ["light", "unet"])
def test_sides_that_cannot_be_halved_twice_are_rebuilt_as_if_their_border_went_on(network: Network) -> None:
    head = head_of(network)
    features = [noise(2, 16, 9, 8), noise(2, 16, 5, 3)]
    with torch.no_grad():
        rebuilt = head.rebuilt(features)
        # 9 rows become 12; 5 rows become 8 and 3 columns become 4, each by repeating the last.
        taller = torch.cat([features[0]] + 3 * [features[0][:, :, -1:]], 2)
        torch.testing.assert_close(rebuilt[0], head.rebuild[0](taller)[:, :, :9])
        wider = torch.cat([features[1], features[1][..., -1:]], 3)
        wider = torch.cat([wider] + 3 * [wider[:, :, -1:]], 2)
        torch.testing.assert_close(rebuilt[1], head.rebuild[1](wider)[:, :, :5, :3])
    assert [level.shape for level in rebuilt] == [level.shape for level in features]


@pytest.mark.parametrize("network", ["light", "unet"])
def test_maps_of_odd_levels_are_finite_and_twice_as_fine(network: Network) -> None:
    with torch.no_grad():
        result = head_of(network)(levels_of(2, size=(9, 8)))
    assert result.shape == (2, 18, 16)
    assert bool(torch.isfinite(result).all())


@pytest.mark.parametrize("mode", ["max", "mean", "both"])
def test_images_of_a_batch_do_not_meet(mode: Mode) -> None:
    head, maps = head_of(mode=mode), levels_of(4, seed=7)
    with torch.no_grad():
        alone = torch.cat([head([level[place : place + 1] for level in maps]) for place in range(4)])
        torch.testing.assert_close(head(maps), alone, atol=1e-5, rtol=1e-4)


class Unlisted(nn.Module):
    """A head that takes its levels one by one, as tracing wants."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        result: Tensor = self.head([fine, coarse])
        return result


@pytest.mark.parametrize(("network", "mode"), [("light", "both"), ("light", "max"), ("unet", "mean")])
def test_a_recorded_graph_selects_anew_for_every_image(network: Network, mode: Mode) -> None:
    head = Unlisted(head_of(network, mode))
    graph = torch.export.export(head, tuple(levels_of(2)), strict=False).module()
    chosen: list[Sequence[int]] = []
    head.head.select.register_forward_pre_hook(
        lambda select, inputs: chosen.append(select.ranked(inputs[0])[0].tolist())
    )
    with torch.no_grad():
        for seed in (11, 12, 13):
            maps = levels_of(2, seed)
            torch.testing.assert_close(graph(*maps), head(*maps), atol=1e-5, rtol=1e-4)
    assert len({tuple(channels) for channels in chosen}) > 1


@pytest.mark.parametrize("network", RealNetHead.NETWORKS)
@pytest.mark.parametrize("mode", RealNetHead.MODES)
def test_the_plan_names_how_the_head_was_made(network: Network, mode: Mode) -> None:
    head = RealNetHead([torch.arange(4), torch.tensor([1, 5])], 2, mode, network)
    kept, mode_place, network_place = head.state_dict()["plan"].tolist()
    assert (kept, RealNetHead.MODES[mode_place], RealNetHead.NETWORKS[network_place]) == (2, mode, network)
    assert head.state_dict()["selected_1"].tolist() == [1, 5]


def test_too_many_residual_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="of 6 residual channels 8"):
        RealNetHead([torch.arange(4), torch.arange(2)], 8, "both", "light")


def test_an_equal_judgement_is_zero() -> None:
    """With equal logits the odds are even, whatever the image."""
    head = head_of()
    last: nn.Conv2d = head.judge.fine[2]
    nn.init.zeros_(last.weight)
    last.bias.data = torch.tensor([0.3, 0.3 + math.log(4)])
    with torch.no_grad():
        torch.testing.assert_close(head(levels_of(1)), torch.full((1, 16, 16), math.log(4)))
