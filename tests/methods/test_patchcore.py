from __future__ import annotations

import numpy as np
import pytest
import torch
from handmade import Floats, fitted, map_from_features, noise, on_table, table_images
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import uniform_filter
from torch import Tensor
from torch.nn import functional

from automl_ad.methods import patchcore
from automl_ad.methods.patchcore import PatchCore, PatchCoreHead, _enlarged, embed_patches

SIZE = (4, 5)


def averaged(level: Tensor) -> Floats:
    """Means over 3 x 3 neighbours, zeros beyond the border: [B, h, w, D]."""
    means = uniform_filter(level.double().numpy(), (0, 0, 3, 3), mode="constant")
    return np.moveaxis(means, 1, -1)


def distances(test: Tensor, memory: Tensor) -> Floats:
    """Distances [B, h, w, M] of every averaged patch to the memory."""
    return np.linalg.norm(averaged(test)[..., None, :] - memory.double().numpy(), axis=-1)


def head_on(memory: Tensor, neighbours: int) -> PatchCoreHead:
    near = torch.cdist(memory, memory).topk(neighbours, largest=False).indices
    return PatchCoreHead.of(memory, near, torch.zeros(memory.shape[1]), torch.ones(memory.shape[1]))


@pytest.fixture
def few_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets small memories be projected."""
    monkeypatch.setattr(patchcore, "_LEAST_DIRECTIONS", 1)


def memory_of(head: PatchCoreHead) -> Tensor:
    """The patches of an unscaled memory that was not projected, where they lie."""
    return head.memory + head.origin


def fit(train: Tensor, seed: int = 0, **chosen: float) -> PatchCoreHead:
    head = fitted(on_table(PatchCore, [train], seed=seed, **chosen), table_images(range(len(train)), SIZE)).head
    assert isinstance(head, PatchCoreHead)
    return head


def test_patches_are_means_of_nine_with_zeros_beyond_the_border() -> None:
    level = torch.arange(1.0, 10).reshape(1, 1, 3, 3)
    found = embed_patches([level])[0, 0].tolist()
    assert found[1][1] == pytest.approx(5)
    assert found[0][0] == pytest.approx((1 + 2 + 4 + 5) / 9)
    assert found[2][1] == pytest.approx((4 + 5 + 6 + 7 + 8 + 9) / 9)


def test_neighbours_are_averaged_before_a_coarser_level_is_interpolated() -> None:
    fine, coarse = noise(2, 3, 4, 6), torch.zeros(2, 1, 2, 3)
    coarse[:, 0, 0, 1] = 9.0
    patches = embed_patches([fine, coarse])
    assert patches.shape == (2, 4, 4, 6)
    np.testing.assert_allclose(patches[:, :3].permute(0, 2, 3, 1), averaged(fine), atol=1e-6)
    np.testing.assert_allclose(patches[:, 3], 1.0, rtol=1e-6)  # one in nine everywhere, and flat stays flat


def test_coarser_levels_are_interpolated_bilinearly() -> None:
    coarse = torch.zeros(1, 1, 1, 2)
    coarse[..., 1] = 9.0
    row = embed_patches([torch.zeros(1, 1, 1, 4), coarse])[0, 1, 0]
    np.testing.assert_allclose(row, [1.0, 1.0, 1.0, 1.0], rtol=1e-6)
    wide = torch.tensor([0.0, 0, 9, 0, 0, 0]).reshape(1, 1, 1, 6)
    row = embed_patches([torch.zeros(1, 1, 1, 12), wide])[0, 1, 0]
    np.testing.assert_allclose(row, [0, 0.25, 0.75, 1, 1, 1, 1, 0.75, 0.25, 0, 0, 0], atol=1e-6)


@pytest.mark.parametrize(("small", "large"), [((4, 6), (8, 12)), ((3, 5), (7, 16)), ((1, 2), (5, 3)), ((4, 4), (4, 9))])
def test_enlarging_is_bilinear_interpolation(small: tuple[int, int], large: tuple[int, int]) -> None:
    cells = noise(2, 3, *small)
    expected = functional.interpolate(cells, size=large, mode="bilinear", align_corners=False).permute(0, 2, 3, 1)
    np.testing.assert_allclose(_enlarged(cells.permute(0, 2, 3, 1), large), expected, atol=1e-6)


@pytest.mark.usefixtures("few_directions")
@pytest.mark.parametrize("held", [1, 700, 2**21])
@pytest.mark.parametrize("variance", [1.0, 1 - 1e-12])
@pytest.mark.parametrize(
    "shapes",
    [
        ((3, 8, 12), (20, 4, 6)),
        ((5, 9, 13), (15, 4, 6), (12, 2, 3)),
        ((3, 8, 12), (4, 16, 24), (20, 4, 6)),  # the second level is finer than the grid
        ((3, 8, 12), (20, 8, 6)),
        ((3, 8, 12), (20, 16, 6)),
    ],
)
def test_whether_turned_before_interpolation_or_not_the_map_is_the_distance(
    shapes: tuple[tuple[int, int, int], ...], variance: float, held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A memory of 40 patches spans all of up to 39 directions."""
    monkeypatch.setattr(patchcore, "_HELD", held)
    maps = [noise(2, *shape, seed=place) for place, shape in enumerate(shapes)]
    depth = sum(shape[0] for shape in shapes)
    memory, shift, scale = noise(40, depth, seed=7), noise(depth, seed=8), noise(depth, seed=9).abs() + 0.5
    head = PatchCoreHead.of(memory, torch.zeros(40, 0, dtype=torch.int64), shift, scale, variance)
    assert head.basis.shape == (depth, 0 if variance == 1 else depth)
    vectors = (embed_patches(maps).permute(0, 2, 3, 1) - shift) / scale
    expected = torch.cdist(vectors.flatten(0, 2).double(), memory.double()).amin(1).reshape(vectors.shape[:3])
    np.testing.assert_allclose(map_from_features(head, maps), expected, rtol=1e-5)


@pytest.mark.usefixtures("few_directions")
def test_left_out_directions_count_by_their_lengths() -> None:
    """The memory spreads over the first axis by 10, over the second by 1: a share of 0.9 leaves out the second."""
    memory = torch.tensor([[10.0, 1.0], [10.0, -1.0], [-10.0, 1.0], [-10.0, -1.0]])
    head = PatchCoreHead.of(memory, torch.zeros(4, 0, dtype=torch.int64), torch.zeros(2), torch.ones(2), 0.9)
    assert head.memory.shape == (4, 1)
    patch = torch.tensor([7.0, 5.0])[None, :, None, None].expand(1, 2, 3, 3)
    assert map_from_features(head, [patch])[0, 1, 1] == pytest.approx((3**2 + 5**2 + 1**2) ** 0.5, rel=1e-5)


@pytest.mark.usefixtures("few_directions")
@pytest.mark.parametrize(("variance", "kept"), [(0.5, 1), (0.8, 1), (0.81, 2), (0.96, 2), (0.97, 3), (0.999, 3)])
def test_the_fewest_directions_that_hold_the_share_are_kept(variance: float, kept: int) -> None:
    """Variances of 80, 16 and 4 %."""
    memory = torch.cat([sign * torch.diag(torch.tensor([80.0, 16.0, 4.0]).sqrt()) for sign in (1, -1)])
    head = PatchCoreHead.of(memory, torch.zeros(6, 0, dtype=torch.int64), torch.zeros(3), torch.ones(3), variance)
    assert head.basis.shape == (3, kept)
    np.testing.assert_allclose(head.basis.T @ head.basis, np.eye(kept), atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(variance=st.floats(0.3, 1), seed=st.integers(0, 10))
def test_a_projected_distance_is_off_by_the_product_of_what_was_left_out(variance: float, seed: int) -> None:
    """Twice the product of the two lengths in the other directions (Cauchy and Schwarz) bounds its square."""
    memory, test = noise(120, 80, seed=seed), noise(1, 80, *SIZE, seed=seed + 50)
    near, zeros = torch.zeros(120, 0, dtype=torch.int64), torch.zeros(80)
    head = PatchCoreHead.of(memory, near, zeros, zeros + 1, variance)
    rest = torch.eye(80) - head.basis @ head.basis.T if head.basis.shape[1] else torch.zeros(80, 80)
    patches = torch.from_numpy(averaged(test)).float() - head.origin
    left = (patches @ rest).norm(dim=-1), ((memory - head.origin) @ rest).norm(dim=-1).max()
    off = np.abs(map_from_features(head, [test]) ** 2 - distances(test, memory).min(-1) ** 2)
    assert (off <= 2 * (left[0] * left[1]).numpy() + 1e-4).all()


@pytest.mark.parametrize(("depth", "kept"), [(64, 0), (65, 64), (200, 64)])
def test_a_few_dozen_directions_are_always_kept(depth: int, kept: int) -> None:
    """All variance lies in one direction."""
    memory = noise(300, depth) * 1e-3
    memory[:, 0] *= 1e6
    near, zeros = torch.zeros(300, 0, dtype=torch.int64), torch.zeros(depth)
    assert PatchCoreHead.of(memory, near, zeros, zeros + 1, 0.5).basis.shape == (depth, kept)


def test_features_far_from_zero_keep_small_distances() -> None:
    memory = noise(30, 6) * 0.1 + 100
    level = memory[:1, :, None, None].expand(-1, -1, 3, 3) + 0.01
    np.testing.assert_allclose(map_from_features(head_on(memory, 1), [level])[0, 1, 1], 0.01 * 6**0.5, rtol=1e-2)


def test_without_neighbours_the_map_is_the_distance_to_the_nearest_patch() -> None:
    train, test = noise(5, 6, *SIZE), noise(2, 6, *SIZE, seed=1)
    head = fit(train, ratio=0.3, neighbours=0)
    assert head.memory.shape == (30, 6)
    np.testing.assert_allclose(map_from_features(head, [test]), distances(test, memory_of(head)).min(-1), rtol=1e-4)


def test_memory_of_everything_is_every_patch() -> None:
    train = noise(3, 6, *SIZE)
    head = fit(train, ratio=1.0, neighbours=0)
    patches = averaged(train).reshape(-1, 6)
    memory = memory_of(head).numpy()
    order = np.argsort(patches[:, 0]), np.argsort(memory[:, 0])
    np.testing.assert_allclose(memory[order[1]], patches[order[0]], atol=1e-6)
    np.testing.assert_allclose(map_from_features(head, [train]), 0, atol=2e-3)


@pytest.mark.parametrize("neighbours", [2, 3, 9])
def test_reweighting_is_equation_seven(neighbours: int) -> None:
    memory, test = noise(25, 6) * 2, noise(3, 6, *SIZE, seed=1) * 4
    away = distances(test, memory)
    between = np.linalg.norm(memory.numpy()[:, None] - memory.numpy()[None], axis=-1)
    expected = np.zeros(away.shape[:3])
    for place in np.ndindex(*expected.shape):
        star = away[place].argmin()
        around = np.exp(away[place][np.argsort(between[star])[:neighbours]])
        expected[place] = (1 - np.exp(away[place][star]) / around.sum()) * away[place][star]
    np.testing.assert_allclose(map_from_features(head_on(memory, neighbours), [test]), expected, rtol=1e-4)


def test_reweighting_by_hand() -> None:
    """At distances 1 and 2 from a memory of two, the weight is 1 - e / (e + e ** 2)."""
    memory = torch.tensor([[1.0], [-2.0]])
    found = map_from_features(head_on(memory, 2), [torch.zeros(1, 1, 1, 1)])
    assert found.item() == pytest.approx(1 - 1 / (1 + np.e))


def test_far_away_patches_have_finite_scores() -> None:
    found = map_from_features(head_on(noise(12, 3), 9), [torch.full((1, 3, 3, 3), 1e4)])
    assert np.isfinite(found).all()
    assert (found > 1e3).all()


def test_one_neighbour_alone_does_not_blank_the_map() -> None:
    memory, test = noise(25, 6), noise(1, 6, *SIZE, seed=1)
    np.testing.assert_allclose(
        map_from_features(head_on(memory, 1), [test]), distances(test, memory).min(-1), rtol=1e-4
    )


def test_neighbours_of_the_fit_are_the_nearest_memory_patches() -> None:
    head = fit(noise(5, 6, *SIZE), ratio=0.3, neighbours=4)
    memory = head.memory.double().numpy()
    expected = np.argsort(np.linalg.norm(memory[:, None] - memory[None], axis=-1), axis=1)[:, :4]
    np.testing.assert_array_equal(head.near, expected)


def test_memory_is_large_enough_for_its_neighbours() -> None:
    head = fit(noise(5, 6, *SIZE), ratio=0.003, neighbours=9)
    assert head.memory.shape == (10, 6)
    assert head.near.shape == (10, 9)


def test_standardising_makes_units_irrelevant() -> None:
    train, test = noise(6, 4, *SIZE), noise(2, 4, *SIZE, seed=1)
    units = torch.tensor([0.1, 1.0, 10.0, 100.0])[:, None, None]
    head = fit(train, ratio=0.2, standardise=True)
    plain = map_from_features(head, [test])
    scaled = map_from_features(fit(train * units, ratio=0.2, standardise=True), [test * units])
    np.testing.assert_allclose(scaled, plain, rtol=1e-3)
    patches = averaged(train).reshape(-1, 4)
    np.testing.assert_allclose(head.scale, patches.std(0, ddof=1), rtol=1e-5)


def test_standardising_survives_channels_that_never_change() -> None:
    train = noise(6, 4, *SIZE)
    train[:, 2] = 0.0
    found = map_from_features(fit(train, ratio=0.2, standardise=True), [noise(2, 4, *SIZE, seed=1)])
    assert np.isfinite(found).all()


def test_patches_looked_at_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patchcore, "_MAX_PATCHES", 33)
    train = noise(10, 6, *SIZE)
    head = fit(train, ratio=1.0, neighbours=0)
    assert head.memory.shape == (30, 6)  # three of each image
    away = np.abs(memory_of(head).numpy()[:, None, None, None] - averaged(train)[None]).sum(-1)
    owners = [int(np.unravel_index(row.argmin(), row.shape)[0]) for row in away]
    assert np.bincount(owners).tolist() == [3] * 10


def test_many_channels_are_projected_for_the_choice_only() -> None:
    train, test = noise(4, 200, *SIZE), noise(1, 200, *SIZE, seed=1)
    head = fit(train, ratio=0.5, neighbours=0)
    assert head.memory.shape == (40, 200)
    np.testing.assert_allclose(map_from_features(head, [test]), distances(test, memory_of(head)).min(-1), rtol=1e-4)


def test_seed_draws_the_projection() -> None:
    train = noise(4, 200, *SIZE)
    first, again, other = (fit(train, seed, ratio=0.2).memory for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
