from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from automl_ad.evaluation.metrics import aupro, image_ap, image_auroc
from automl_ad.evaluation.resampled import (
    aupro_draws,
    auroc_draws,
    average_precision_draws,
    binned,
    quantile_edges,
)

Floats = npt.NDArray[np.float64]


def sorted_into_levels(normal: Floats, anomalous: Floats, weights: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    levels, bins = np.unique(np.concatenate([normal, anomalous]), return_inverse=True)
    count = len(levels)
    return binned(weights[0], bins[: len(normal)], count), binned(weights[1], bins[len(normal) :], count)


def test_each_sample_is_what_repeating_its_images_gives() -> None:
    rng = np.random.default_rng(0)
    normal, anomalous = rng.integers(0, 8, 12).astype(float), rng.integers(3, 11, 9).astype(float)
    weights = rng.multinomial(12, np.full(12, 1 / 12), 5) * 1.0, rng.multinomial(9, np.full(9, 1 / 9), 5) * 1.0
    levels = sorted_into_levels(normal, anomalous, weights)
    areas, precisions = auroc_draws(*levels), average_precision_draws(*levels)
    for draw in range(5):
        good, bad = (np.repeat(v, w[draw].astype(int)) for v, w in zip((normal, anomalous), weights, strict=True))
        scores, labels = np.concatenate([good, bad]), np.repeat([0, 1], [len(good), len(bad)])
        assert areas[draw] == pytest.approx(image_auroc(scores, labels))
        assert precisions[draw] == pytest.approx(image_ap(scores, labels))


def test_metrics_of_two_bins_by_hand() -> None:
    """Normals 3 low and 1 high, anomalies 1 low and 1 high."""
    normal, anomalous = np.array([[3.0, 1.0]]), np.array([[1.0, 1.0]])
    assert auroc_draws(normal, anomalous)[0] == pytest.approx((3 / 2 + 3 + 1 / 2) / 8)
    assert average_precision_draws(normal, anomalous)[0] == pytest.approx((1 / 2 + 2 / 6) / 2)
    # The curve rises to 1/2 over false positive rates of 0 to 1/4, then to 1 over 1/4 to 1.
    assert aupro_draws(normal, anomalous, 0.25)[0] == pytest.approx(0.25)
    assert aupro_draws(normal, anomalous, 1.0)[0] == pytest.approx(1 / 4 * 1 / 4 + 3 / 4 * 3 / 4)


def test_the_overlap_of_regions_agrees_with_the_exact_metric() -> None:
    rng = np.random.default_rng(1)
    maps = rng.integers(0, 12, (3, 16, 16)).astype(np.float32)
    masks = np.zeros((3, 16, 16), bool)
    masks[0, 2:6, 2:8] = masks[0, 10:12, 10:12] = masks[1, 4:9, 4:5] = True
    maps[masks] += 4
    levels = np.unique(maps)
    bins = np.searchsorted(levels, maps)
    regions = [(0, 2, 6, 2, 8), (0, 10, 12, 10, 12), (1, 4, 9, 4, 5)]
    overlap = sum(
        np.bincount(bins[i, top:low, left:right].ravel(), minlength=len(levels)) / ((low - top) * (right - left))
        for i, top, low, left, right in regions
    )
    normal = np.bincount(bins[~masks], minlength=len(levels)).astype(float)
    drawn = aupro_draws(normal[None], np.asarray(overlap)[None])
    assert drawn[0] == pytest.approx(aupro(maps, masks))


def test_bins_between_quantiles_of_the_anomalies_are_fine_enough_where_these_are_rare() -> None:
    rng = np.random.default_rng(2)
    normal, anomalous = rng.normal(0, 1, 50000), rng.normal(2.5, 1, 900)
    edges = quantile_edges(anomalous, 256)
    parts = [
        np.bincount(np.searchsorted(edges, side, side="right"), minlength=len(edges) + 1)
        for side in (normal, anomalous)
    ]
    weights = [part[None].astype(float) for part in parts]
    scores, labels = np.concatenate([normal, anomalous]), np.repeat([0, 1], [50000, 900])
    assert auroc_draws(*weights)[0] == pytest.approx(image_auroc(scores, labels), abs=1 / 256)
    assert average_precision_draws(*weights)[0] == pytest.approx(image_ap(scores, labels), abs=2 / 256)


def test_edges_are_distinct_scores_from_the_lowest_to_the_highest() -> None:
    assert quantile_edges(np.array([3.0, 1.0, 1.0, 2.0])).tolist() == [1, 2, 3]
    assert quantile_edges(np.arange(101.0), 3).tolist() == [0, 50, 100]


def test_a_sample_without_anomalies_is_nan_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    normal, nothing = np.ones((1, 3)), np.zeros((1, 3))
    for metric in (auroc_draws, average_precision_draws, aupro_draws):
        assert np.isnan(metric(normal, nothing)[0])
    assert not recwarn
