from __future__ import annotations

import numpy as np
import pytest
import torch
from handmade import Floats, fitted, map_from_features, noise, on_table, table_images
from sklearn.decomposition import PCA
from torch import Tensor

from automl_ad.methods.dfr import Dfr, pca
from automl_ad.methods.dfr.pca import PcaHead, component_count, components_of_images, components_of_positions

DEPTH, SIZE = 6, (3, 4)


def features(count: int, offset: float = 0.0, seed: int = 0) -> Tensor:
    """float32 [count, 6, 3, 4] with a few strong directions."""
    mixing = np.random.default_rng(7).normal(size=(DEPTH, DEPTH)) * np.array([5, 3, 1, 0.5, 0.2, 0.1])
    values = np.einsum("cd,ndhw->nchw", mixing, noise(count, DEPTH, *SIZE, seed=seed).double().numpy())
    return torch.from_numpy((values + offset).astype(np.float32))


def rows(maps: Tensor, whole: bool) -> Floats:
    values = maps.double().numpy()
    return values.reshape(len(values), -1) if whole else np.moveaxis(values, 1, -1).reshape(-1, values.shape[1])


def residuals(train: Tensor, test: Tensor, variance: float, whole: bool) -> tuple[Floats, int]:
    """scikit-learn's squared reconstruction error, averaged over the channels of each position, and its components."""
    model = PCA(variance, svd_solver="full").fit(rows(train, whole))
    error = (model.inverse_transform(model.transform(rows(test, whole))) - rows(test, whole)) ** 2
    maps = error.reshape(test.shape).mean(1) if whole else error.mean(1).reshape(-1, *SIZE)
    return maps, model.n_components_


def fit(train: Tensor, model: str, variance: float = 0.9) -> PcaHead:
    detector = on_table(Dfr, [train], model=model, variance=variance, stride=1)
    head = fitted(detector, table_images(range(len(train)), SIZE)).head
    assert isinstance(head, PcaHead)
    return head


@pytest.mark.parametrize("model", ["image_pca", "pca"])
@pytest.mark.parametrize("variance", [0.5, 0.8, 0.9, 0.98])
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_map_is_the_reconstruction_error_of_principal_components(model: str, variance: float, offset: float) -> None:
    train, test = features(30, offset), features(4, offset, seed=1)
    head = fit(train, model, variance)
    expected, kept = residuals(train, test, variance, model == "image_pca")
    assert head.components.shape[1] == kept
    np.testing.assert_allclose(map_from_features(head, [test]), expected, rtol=0.01, atol=1e-3 * expected.mean())


def test_small_spreads_far_from_zero_are_found() -> None:
    vectors = 100 + 0.1 * features(40).permute(0, 2, 3, 1).flatten(0, 2)
    mean, components = components_of_positions(vectors.split(50), 0.9)
    reference = PCA(0.9, svd_solver="full").fit(vectors.double().numpy())
    np.testing.assert_allclose(mean, reference.mean_, rtol=1e-5)
    assert components.shape[1] == reference.n_components_
    overlap = np.abs(components.double().numpy().T @ reference.components_.T)
    np.testing.assert_allclose(np.linalg.svd(overlap)[1], 1, atol=1e-3)


@pytest.mark.parametrize("batch", [1, 7, 500])
def test_batches_give_the_components_of_the_whole(batch: int) -> None:
    vectors = torch.from_numpy(rows(features(40), whole=False)).float()
    mean, components = components_of_positions(vectors.split(batch), 0.95)
    whole_mean, whole = components_of_positions([vectors], 0.95)
    torch.testing.assert_close(mean, whole_mean, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(components @ components.T, whole @ whole.T, rtol=0, atol=1e-4)


@pytest.mark.parametrize("model", ["image_pca", "pca"])
def test_components_are_orthonormal(model: str) -> None:
    components = fit(features(20), model, 0.95).components
    torch.testing.assert_close(components.T @ components, torch.eye(components.shape[1]), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("values", "share", "count"),
    [
        ([4.0, 3.0, 2.0, 1.0], 0.4, 1),
        ([4.0, 3.0, 2.0, 1.0], 0.41, 2),
        ([4.0, 3.0, 2.0, 1.0], 0.89, 3),
        ([4.0, 3.0, 2.0, 1.0], 0.95, 4),
        ([1.0, 0.0, 0.0], 0.999, 1),
        ([1.0, 1e-9, 1e-9], 0.9999999, 1),
        ([1.0, 1.0, -1e-3], 0.99, 2),
        ([0.0, 0.0], 0.9, 1),
        ([5.0], 0.9, 1),
    ],
)
def test_share_count_by_hand(values: list[float], share: float, count: int) -> None:
    assert component_count(torch.tensor(values), share) == count


@pytest.mark.parametrize("count", [2, 3, 5])
def test_few_images_are_rebuilt_and_others_are_not(count: int) -> None:
    """N images span N - 1 directions about their mean: with nearly all variance kept, nothing of them is left."""
    train = features(count)
    head = fit(train, "image_pca", 0.9999999)
    assert head.components.shape == (DEPTH * 12, count - 1)
    assert map_from_features(head, [train]).max() < 1e-6
    assert map_from_features(head, [features(3, seed=1)]).mean() > 1


@pytest.mark.parametrize("model", ["image_pca", "pca"])
@pytest.mark.parametrize("count", [1, 4])
def test_equal_images_leave_their_distance_to_the_mean(model: str, count: int) -> None:
    head = fit(torch.full((count, DEPTH, *SIZE), 3.0), model)
    np.testing.assert_allclose(map_from_features(head, [torch.full((1, DEPTH, *SIZE), 3.0)]), 0, atol=1e-6)
    other = map_from_features(head, [torch.full((1, DEPTH, *SIZE), 5.0)])
    assert np.isfinite(other).all()
    assert other.max() <= 4 + 1e-5


def test_equal_images_in_unequal_numbers_stay_finite() -> None:
    train = noise(1, DEPTH, *SIZE).expand(5, -1, -1, -1).contiguous()
    assert np.isfinite(map_from_features(fit(train, "image_pca"), [features(2)])).all()


def test_the_layout_of_the_part_is_modelled_by_whole_images_only() -> None:
    """Two positions that change places look normal one by one."""
    layout = torch.zeros(1, DEPTH, *SIZE)
    layout[:, 0, 0, 0] = 5
    train = layout + 0.01 * noise(12, DEPTH, *SIZE)
    moved = layout.flip(-1) + 0.01 * noise(1, DEPTH, *SIZE, seed=1)
    assert map_from_features(fit(train, "image_pca", 0.5), [moved])[0, 0, 3] > 1
    assert map_from_features(fit(train, "pca", 0.5), [moved]).max() < 0.01


def test_components_of_many_images_come_from_a_random_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pca, "_MAX_IMAGES", 5)
    vectors = noise(40, 30)
    first, again, other = (
        components_of_images(vectors, 0.9999999, torch.Generator().manual_seed(seed))[1] for seed in (0, 0, 1)
    )
    assert first.shape == (30, 4)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_grid_follows_the_stride_and_never_vanishes() -> None:
    train = noise(4, DEPTH, 8, 12)
    for stride, grid in [(1, (8, 12)), (4, (2, 3)), (5, (1, 2)), (32, (1, 1))]:
        detector = on_table(Dfr, [train], model="pca", stride=stride)
        fitted(detector, table_images(range(4), (8, 12)))
        assert detector.anomaly_maps(table_images([0], (8, 12))).shape == (1, *grid)
