"""DeSTSeg's head: what teacher and student make of each other, and the network that judges it."""

from __future__ import annotations

import pytest
import torch
from handmade import noise
from torch import Tensor, nn
from torch.nn import functional

from automl_ad.methods.destseg.head import DeStSegHead, Pyramid, SegmentationNetwork, unit_vectors

pytestmark = pytest.mark.usefixtures("gradients_as_in_trainings")

CHANNELS, STRIDES = (5, 9, 6), (4, 8, 16)
SIZES = ((16, 24), (8, 12), (4, 6))


def small(stride: int = 4, segments: bool = False) -> DeStSegHead:
    torch.manual_seed(0)
    return DeStSegHead(CHANNELS, STRIDES, width=8, blocks=1, head_width=8, stride=stride, segments=segments).eval()


def seen(seed: int = 0) -> list[Tensor]:
    """Levels of a teacher, and the images."""
    levels = [noise(2, count, *size, seed=seed + count) for count, size in zip(CHANNELS, SIZES, strict=True)]
    return [*levels, torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(seed))]


def cosines(head: DeStSegHead, maps: list[Tensor]) -> list[Tensor]:
    """Cosine similarity of teacher and student at every position of every level, float32 [B, h_k, w_k]."""
    student = head.student(maps[-1], SIZES)
    return [functional.cosine_similarity(a, b, dim=1) for a, b in zip(maps, student, strict=False)]


def refined(level: Tensor) -> Tensor:
    return functional.interpolate(level[:, None], size=SIZES[0], mode="bilinear", align_corners=False)[:, 0]


@torch.no_grad()
def test_products_of_a_level_sum_to_its_negative_cosine() -> None:
    head, maps = small(), seen()
    for part, cosine in zip(head.products(maps).split(CHANNELS, 1), cosines(head, maps), strict=True):
        torch.testing.assert_close(part.sum(1), -refined(cosine), atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_products_by_hand_and_in_the_order_of_the_levels() -> None:
    head, maps = small(), seen()
    student = head.student(maps[-1], SIZES)
    vector, answer = maps[0][1, :, 3, 5], student[0][1, :, 3, 5]
    by_hand = -(vector / vector.norm()) * (answer / answer.norm())
    torch.testing.assert_close(head.products(maps)[1, :5, 3, 5], by_hand)


@torch.no_grad()
def test_on_a_coarser_grid_products_are_averages() -> None:
    maps = seen()
    fine, coarse = small(4).products(maps), small(8).products(maps)
    assert coarse.shape == (2, 20, 8, 12)
    torch.testing.assert_close(coarse[:, :5], fine[:, :5].reshape(2, 5, 8, 2, 12, 2).mean((3, 5)))
    cosine = cosines(small(), maps)[1]
    torch.testing.assert_close(coarse[:, 5:14].sum(1), -cosine, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("strides", "stride", "size"),
    [
        ((4, 8), 4, (16, 16)),
        ((4, 8), 8, (8, 8)),
        ((2,), 8, (8, 8)),
        ((8, 16), 4, (8, 8)),
        ((16, 16), 8, (4, 4)),
        ((14,), 8, (5, 5)),
    ],
)
def test_the_map_is_as_fine_as_the_finest_level_but_no_finer_than_wanted(
    strides: tuple[int, ...], stride: int, size: tuple[int, int]
) -> None:
    head = DeStSegHead([4] * len(strides), strides, 8, 1, 8, stride).eval()
    maps = [torch.rand(1, 4, round(64 / own), round(64 / own)) for own in strides]
    with torch.no_grad():
        assert head([*maps, torch.rand(1, 3, 64, 64)]).shape == (1, *size)
        head.use_segmentation()
        assert head([*maps, torch.rand(1, 3, 64, 64)]).shape == (1, *size)


@torch.no_grad()
def test_before_the_network_has_learned_distances_of_the_levels_are_multiplied() -> None:
    head, maps = small(), seen()
    fine = [1 - refined(cosine) for cosine in cosines(head, maps)]
    torch.testing.assert_close(head(maps), fine[0] * fine[1] * fine[2], atol=1e-6, rtol=1e-4)


def test_equal_directions_are_no_distance_and_never_less() -> None:
    head = small()
    products = -torch.rand(1, 20, 3, 3)
    products[:, :5] = -0.2 - 1e-7
    assert float(head.deviation(products).min()) >= 0
    assert float(head.deviation(products).max()) == 0


def test_positions_without_features_are_at_a_right_angle_to_everything() -> None:
    level = torch.zeros(1, 4, 2, 2, requires_grad=True)
    scaled = unit_vectors(level)
    assert not scaled.any()
    scaled.sum().backward()
    assert level.grad is not None
    assert bool(level.grad.isfinite().all())


@torch.no_grad()
def test_the_network_makes_the_map_once_it_is_told_to() -> None:
    head, maps = small(), seen()
    assert not head.get_buffer("segments")
    head.use_segmentation()
    assert head.get_buffer("segments")
    torch.testing.assert_close(head(maps), head.segmentation(head.products(maps)))
    again = small(segments=True)
    again.load_state_dict(head.state_dict())
    torch.testing.assert_close(again(maps), head(maps))


def test_the_published_network_has_7_7_million_parameters() -> None:
    count = sum(weight.numel() for weight in SegmentationNetwork(448, 256, 4).parameters())
    assert count == pytest.approx(7.7e6, rel=0.03)


@pytest.mark.parametrize(
    ("stride", "steps"),
    [(4, [6, 12, 18]), (8, [3, 6, 9]), (2, [12, 24, 36]), (16, [2, 4, 6]), (14, [2, 4, 6]), (32, [1, 2, 3])],
)
def test_the_pyramid_reaches_as_far_on_every_grid(stride: int, steps: list[int]) -> None:
    pyramid = SegmentationNetwork(4, 4, stride).judge[0]
    for branch, step in zip(pyramid.near, steps, strict=True):
        spot = torch.zeros(1, 4, 101, 101)
        spot[..., 50, 50] = 1
        touched = branch[0](spot)[0].abs().sum(0).nonzero()
        assert sorted({int(row) for row in touched[:, 0]}) == [50 - step, 50, 50 + step]
        assert sorted({int(column) for column in touched[:, 1]}) == [50 - step, 50, 50 + step]


@torch.no_grad()
def test_the_pyramid_knows_the_mean_of_the_whole_image() -> None:
    torch.manual_seed(0)
    pyramid = Pyramid(4, 1).eval()
    for branch in pyramid.near:
        nn.init.zeros_(branch[0].weight)
    features = noise(1, 4, 6, 8)
    shuffled = features.flatten(2)[..., torch.randperm(48)].reshape(1, 4, 6, 8)
    torch.testing.assert_close(pyramid(shuffled), pyramid(features))
    assert not torch.allclose(pyramid(features + 1), pyramid(features), atol=0.01)


def test_an_untaught_network_is_undecided() -> None:
    """Else hardly a pixel would have a gradient at first."""
    torch.manual_seed(0)
    network = SegmentationNetwork(20, 32, 4)
    with torch.no_grad():
        assert float(network(noise(4, 20, 16, 16)).abs().max()) < 3


@pytest.mark.parametrize("released", [True, False])
def test_as_released_fan_out_initialisation_is_for_the_residual_blocks_alone(released: bool) -> None:
    """What follows them starts as PyTorch starts a convolution, uniform within 1 / sqrt(fan in)."""
    torch.manual_seed(0)
    network = SegmentationNetwork(32, 64, 4, released)
    first = next(layer for layer in network.refine.modules() if isinstance(layer, nn.Conv2d))
    fan_out = first.out_channels * first.kernel_size[0] * first.kernel_size[1]
    assert float(first.weight.detach().std()) == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)
    for layer in network.judge.modules():
        if isinstance(layer, nn.Conv2d):
            bound = (layer.weight.numel() / layer.out_channels) ** -0.5
            largest = float(layer.weight.detach().abs().max())
            assert largest > 0.9 * bound
            assert (largest <= bound) == (released or layer.out_channels == 1)
