from __future__ import annotations

import numpy as np
import pytest
import torch
from handmade import Floats, fitted, map_from_features, noise, on_table, table_images
from torch import Tensor

from automl_ad.methods.padim import Padim, PadimHead, _moments

COUNT, DEPTH, SIZE = 20, 5, (3, 4)


def features(offset: float = 0.0, count: int = COUNT, seed: int = 0) -> Tensor:
    """Correlated channels whose scale and offset differ from position to position."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(*SIZE, DEPTH, DEPTH))
    values = np.einsum("hwde,nhwe->ndhw", mixing, rng.normal(size=(count, *SIZE, DEPTH)))
    return torch.from_numpy((values + offset * rng.uniform(0.5, 2, (DEPTH, *SIZE))).astype(np.float32))


def mahalanobis(train: Tensor, test: Tensor, ridge: float) -> Floats:
    """Distances [n, h, w], one position after the other in double precision."""
    good, new = train.double().numpy(), test.double().numpy()
    covariances = {p: np.cov(good[:, :, p[0], p[1]].T) for p in np.ndindex(*SIZE)}
    added = ridge * np.mean([np.diag(c) for c in covariances.values()])
    result = np.zeros((len(new), *SIZE))
    for (i, j), covariance in covariances.items():
        away = new[:, :, i, j] - good[:, :, i, j].mean(0)
        inverse = np.linalg.inv(covariance + added * np.eye(len(covariance)))
        result[:, i, j] = np.sqrt(np.einsum("nd,de,ne->n", away, inverse, away))
    return result


def fit(train: Tensor, seed: int = 0, **settings: float) -> PadimHead:
    head = fitted(on_table(Padim, [train], seed=seed, **settings), table_images(range(len(train)), SIZE)).head
    assert isinstance(head, PadimHead)
    return head


@pytest.mark.parametrize("batch", [1, 3, 8, 20])
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_moments_of_batches_are_those_of_the_whole(batch: int, offset: float) -> None:
    vectors = features(offset).flatten(2).permute(2, 0, 1)
    mean, covariance = _moments(vectors.split(batch, 1))
    whole = vectors.double().numpy()
    np.testing.assert_allclose(mean, whole.mean(1), rtol=1e-6, atol=1e-5)
    for found, position in zip(covariance, whole, strict=True):
        expected = np.cov(position.T)
        np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("offset", [0.0, 1000.0])
@pytest.mark.parametrize("ridge", [0.005, 0.5])
def test_map_is_the_mahalanobis_distance_of_every_position(offset: float, ridge: float) -> None:
    data = features(offset, COUNT + 6)
    found = map_from_features(fit(data[:COUNT], ridge=ridge), [data[COUNT:]])
    np.testing.assert_allclose(found, mahalanobis(data[:COUNT], data[COUNT:], ridge), rtol=2e-3)


def test_distance_by_hand() -> None:
    """Values -1 and 1 have variance 2; a ridge of one mean variance makes 4: a value of 6 is 3 deviations away."""
    train = torch.tensor([-1.0, 1.0])[:, None, None, None].expand(2, 1, 2, 2).contiguous()
    found = map_from_features(fit(train, ridge=1.0), [torch.full((1, 1, 2, 2), 6.0)])
    np.testing.assert_allclose(found, 3.0, rtol=1e-6)


def test_fewer_images_than_channels_and_positions_that_never_change_stay_finite() -> None:
    train = features(count=3)
    train[:, :, 0, 0] = 7.0
    found = map_from_features(fit(train), [features(seed=5)])
    assert np.isfinite(found).all()
    assert (found > 0).all()


def test_images_without_any_variation_stay_finite() -> None:
    train = torch.ones(4, DEPTH, *SIZE)
    head = fit(train)
    assert np.isfinite(map_from_features(head, [features()])).all()
    np.testing.assert_array_equal(map_from_features(head, [train]), 0.0)


def test_a_lone_position_that_varies_can_be_factored() -> None:
    """Rendered images differ at one of 1024 positions: the mean variance, and with it the ridge, is next to nothing."""
    train = torch.zeros(10, 100, 32, 32)
    train[:, :, 5, 7] = noise(10, 100)
    detector = fitted(on_table(Padim, [train], channels=100, ridge=0.001), table_images(range(10), (32, 32)))
    assert np.isfinite(detector.anomaly_maps(table_images([0], (32, 32)))).all()


def test_an_anomaly_changes_the_map_where_it_is_and_nowhere_else() -> None:
    train, test = features(), features(seed=1)
    spoilt = test.clone()
    spoilt[:, :, 2, 1] += 10
    head = fit(train)
    changed = map_from_features(head, [spoilt]) != map_from_features(head, [test])
    assert changed[:, 2, 1].all()
    assert changed.sum() == len(test)


def test_every_position_has_its_own_normal() -> None:
    """Shifting the normals at one position moves that position's mean and leaves the other positions alone."""
    train, test = features(), features(seed=1)
    shifted = train.clone()
    shifted[:, :, 0, 2] += 4
    before, after = map_from_features(fit(train), [test]), map_from_features(fit(shifted), [test])
    others = np.ones(SIZE, bool)
    others[0, 2] = False
    np.testing.assert_allclose(after[:, others], before[:, others], rtol=1e-4)
    test[:, :, 0, 2] += 4
    np.testing.assert_allclose(map_from_features(fit(shifted), [test])[:, 0, 2], before[:, 0, 2], rtol=1e-3)


def test_seed_draws_the_channels() -> None:
    train = noise(4, 30, *SIZE)
    first, again, other = (fit(train, seed=seed, channels=12).index.tolist() for seed in (0, 0, 1))
    assert first == again != other
    assert first == sorted(set(first))
    assert len(first) == 12
    assert set(first) < set(range(30))


def test_all_channels_are_kept_where_there_are_fewer_than_wanted() -> None:
    assert fit(features(), channels=100).index.tolist() == list(range(DEPTH))


def test_channels_that_were_not_drawn_do_not_matter() -> None:
    train, test = noise(8, 30, *SIZE), noise(2, 30, *SIZE, seed=1)
    head = fit(train, channels=12)
    changed = test.clone()
    changed[:, [c for c in range(30) if c not in head.index]] += 100
    np.testing.assert_array_equal(map_from_features(head, [changed]), map_from_features(head, [test]))


def test_levels_are_stacked_on_the_finest_grid() -> None:
    fine, coarse = features(), noise(COUNT, 2, 1, 2)
    detector = fitted(on_table(Padim, [fine, coarse], strides=(1, 2)), table_images(range(COUNT), SIZE))
    assert detector.head.mean.shape == (12, DEPTH + 2)
    assert detector.anomaly_maps(table_images([3, 4], SIZE)).shape == (2, *SIZE)
