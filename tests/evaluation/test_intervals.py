from __future__ import annotations

import warnings

import numpy as np
import pytest

from automl_ad.evaluation.intervals import BootstrapPlan, auroc_interval, cell_draws, interval, kendall, spearman
from automl_ad.evaluation.metrics import image_auroc


def rng(seed=0):
    return np.random.default_rng(seed)


class TestPlan:
    def test_every_sample_draws_as_many_images_as_there_are(self):
        plan = BootstrapPlan.draw(7, {"a": 3, "b": 5}, draws=40, rng=rng())
        assert plan.normals.shape == (40, 7)
        assert {cell: weights.shape for cell, weights in plan.cells.items()} == {"a": (40, 3), "b": (40, 5)}
        assert (plan.normals.sum(axis=1) == 7).all()
        assert (plan.cells["b"].sum(axis=1) == 5).all()

    def test_same_generator_same_plan(self):
        first, second = (BootstrapPlan.draw(6, {"a": 4}, draws=9, rng=rng(5)) for _ in range(2))
        np.testing.assert_array_equal(first.normals, second.normals)
        np.testing.assert_array_equal(first.cells["a"], second.cells["a"])

    def test_pairing_cancels_what_candidates_share(self):
        source = rng(1)
        normal, anomaly = source.normal(size=40), source.normal(0.8, size=30)
        noise = 0.05 * source.normal(size=40)
        plan = BootstrapPlan.draw(40, {"a": 30}, draws=300, rng=source)
        other = BootstrapPlan.draw(40, {"a": 30}, draws=300, rng=source)
        first, second = plan.cell("a", normal, anomaly), plan.cell("a", normal + noise, anomaly)
        assert np.std(first - second) < 0.3 * np.std(first - other.cell("a", normal + noise, anomaly))

    @pytest.mark.parametrize(("normals", "cells", "draws"), [(0, {"a": 1}, 1), (1, {"a": 0}, 1), (1, {"a": 1}, 0)])
    def test_empty_sides_are_refused(self, normals, cells, draws):
        with pytest.raises(ValueError, match="at least one"):
            BootstrapPlan.draw(normals, cells, draws, rng=rng())


class TestDraws:
    def test_each_draw_is_the_auroc_of_the_repeated_images(self):
        source = rng(2)
        normal, anomaly = source.integers(0, 5, 8).astype(float), source.integers(2, 7, 6).astype(float)
        plan = BootstrapPlan.draw(8, {"a": 6}, draws=25, rng=source)
        drawn = plan.cell("a", normal, anomaly)
        for sample in range(25):
            left = np.repeat(normal, plan.normals[sample].astype(int))
            right = np.repeat(anomaly, plan.cells["a"][sample].astype(int))
            expected = image_auroc(np.concatenate([left, right]), [0] * len(left) + [1] * len(right))
            assert drawn[sample] == pytest.approx(expected, abs=1e-12)

    def test_equal_weights_give_the_plain_auroc_with_ties_at_one_half(self):
        drawn = cell_draws([1, 2], [2, 3], np.ones((1, 2)), np.ones((1, 2)))
        np.testing.assert_allclose(drawn, [0.875])

    def test_huge_scores_do_not_overflow(self):
        normal, anomaly = np.array([-3e38], np.float32), np.array([3e38], np.float32)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            np.testing.assert_array_equal(cell_draws(normal, anomaly, [[1]], [[1]]), [1.0])


class TestInterval:
    def test_quantiles(self):
        assert interval(np.arange(101), level=0.9) == (pytest.approx(5), pytest.approx(95))

    @pytest.mark.parametrize(("draws", "level"), [([], 0.9), ([1.0], 1.0), ([1.0], 0.0), ([np.nan], 0.9)])
    def test_nonsense_is_refused(self, draws, level):
        with pytest.raises(ValueError, match=r"interval needs|finite"):
            interval(draws, level)

    def test_covers_the_true_auroc_about_as_often_as_it_says(self):
        source, covered = rng(3), 0
        truth = 0.760249938906523  # Phi(1 / sqrt 2), for unit normals one apart
        labels = np.repeat([0, 1], 60)
        for _ in range(200):
            scores = source.normal(size=120) + labels
            low, high = auroc_interval(scores, labels, source, draws=200, level=0.9)
            covered += low <= truth <= high
        assert 0.83 <= covered / 200 <= 0.96

    def test_one_class_is_refused(self):
        with pytest.raises(ValueError, match="only one kind"):
            auroc_interval([1.0, 2.0], [1, 1], rng())


class TestRankCorrelation:
    def test_hand_computed(self):
        assert spearman([1, 2, 3], [10, 30, 20]) == pytest.approx(0.5)
        assert kendall([1, 2, 3], [10, 30, 20]) == pytest.approx(1 / 3)

    @pytest.mark.parametrize("measure", [spearman, kendall])
    @pytest.mark.parametrize("sides", [([1, 1, 1], [1, 2, 3]), ([1, 2], [4, 4]), ([], []), ([1], [2])])
    def test_nothing_to_correlate_is_nan_without_a_warning(self, measure, sides):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert np.isnan(measure(*sides))


def test_an_anomaly_counts_only_as_often_as_the_picture_it_was_drawn_on() -> None:
    bases = [0, 0, 1, 2]
    rng = np.random.default_rng(0)
    plan = BootstrapPlan.draw_by_base(3, {"cell": bases}, draws=300, rng=rng)
    plain = BootstrapPlan.draw(3, {"cell": 4}, draws=300, rng=np.random.default_rng(0))
    joint = plain.cells["cell"] * plain.normals[:, bases]
    left = joint.sum(axis=1) > 0
    assert 0 < left.sum() < 300
    np.testing.assert_array_equal(plan.normals, plain.normals)
    np.testing.assert_array_equal(plan.cells["cell"][left], joint[left])
    np.testing.assert_array_equal(plan.cells["cell"][~left], plain.cells["cell"][~left])


def test_many_anomalies_on_few_pictures_count_as_few() -> None:
    rng = np.random.default_rng(1)
    bases = [base for base in range(5) for _ in range(40)]
    normal = rng.normal(0, 1, 5)
    anomaly = np.repeat([-1.0, 0.0, 1.0, 2.0, 3.0], 40) + rng.normal(0, 0.01, 200)
    apart = BootstrapPlan.draw(5, {"cell": 200}, 800, rng=np.random.default_rng(2))
    joined = BootstrapPlan.draw_by_base(5, {"cell": bases}, 800, rng=np.random.default_rng(2))
    assert joined.cell("cell", normal, anomaly).std() > 1.2 * apart.cell("cell", normal, anomaly).std()
