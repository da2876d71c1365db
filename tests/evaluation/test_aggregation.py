"""Score aggregations: from anomaly maps to image scores, and to the scores on the anomalies."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from automl_ad.evaluation.aggregation import (
    AGGREGATIONS,
    LEAST_SHARE,
    ScoreAggregation,
    localisation_scores,
    score_all,
    score_maps,
    smooth,
)

SIZE = (256, 256)


def maps_of(seed, shape=(5, 32, 32)):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


rules = st.one_of(
    st.builds(ScoreAggregation, st.just("max"), sigma=st.floats(0, 50)),
    st.builds(
        ScoreAggregation, st.just("top"), fraction=st.floats(0, 1, exclude_min=True), sigma=st.sampled_from([0, 1.5, 4])
    ),
    st.builds(ScoreAggregation, st.just("pool"), pool=st.integers(1, 999), sigma=st.sampled_from([0, 0.25, 10])),
)


class TestNames:
    @given(rules)
    def test_round_trip(self, rule):
        assert ScoreAggregation.parse(rule.name) == rule

    @pytest.mark.parametrize(
        ("name", "rule"),
        [
            ("max", ScoreAggregation("max")),
            ("top1%", ScoreAggregation("top", fraction=0.01)),
            ("pool16", ScoreAggregation("pool", pool=16)),
            ("top0.3%+sigma4", ScoreAggregation("top", fraction=0.003, sigma=4)),
            ("top100%", ScoreAggregation("top", fraction=1.0)),
            ("max+sigma1.5", ScoreAggregation("max", sigma=1.5)),
        ],
    )
    def test_names_are_stable(self, name, rule):
        assert rule.name == name
        assert ScoreAggregation.parse(name) == rule

    @pytest.mark.parametrize(
        "name", ["", "mean", "top", "top1", "pool", "pool1.5", "max+sigma", "max1%", "top0%", "top1.%2%"]
    )
    def test_other_names_are_refused(self, name):
        with pytest.raises(ValueError, match=r".+"):
            ScoreAggregation.parse(name)

    def test_the_house_rules_have_names_of_their_own(self):
        assert len({rule.name for rule in AGGREGATIONS}) == len(AGGREGATIONS) == 16
        assert "top0.1%" in {rule.name for rule in AGGREGATIONS}

    @pytest.mark.parametrize(
        "fields",
        [
            {"kind": "max", "fraction": 0.1},
            {"kind": "max", "pool": 3},
            {"kind": "top"},
            {"kind": "top", "fraction": 1.5},
            {"kind": "top", "fraction": -0.1},
            {"kind": "pool"},
            {"kind": "pool", "pool": -2},
            {"kind": "max", "sigma": -1},
            {"kind": "max", "sigma": float("nan")},
        ],
    )
    def test_contradictory_rules_are_refused(self, fields):
        with pytest.raises(ValueError, match="must be"):
            ScoreAggregation(**fields)


class TestScores:
    def test_max(self):
        maps = maps_of(0)
        np.testing.assert_array_equal(score_maps(maps, ScoreAggregation("max"), SIZE), maps.max(axis=(1, 2)))

    def test_top_is_the_mean_of_the_highest_pixels(self):
        maps = np.arange(100, dtype=np.float32).reshape(1, 10, 10)
        np.testing.assert_allclose(
            score_maps(maps, ScoreAggregation("top", fraction=0.04), SIZE), [(99 + 98 + 97 + 96) / 4]
        )
        np.testing.assert_allclose(score_maps(maps, ScoreAggregation("top", fraction=1.0), SIZE), [49.5])

    @pytest.mark.parametrize("fraction", [1e-9, 1 / 1024])
    def test_one_pixel_equals_max(self, fraction):
        maps = maps_of(1)
        top = score_maps(maps, ScoreAggregation("top", fraction=fraction), SIZE)
        np.testing.assert_array_equal(top, score_maps(maps, ScoreAggregation("max"), SIZE))

    @pytest.mark.parametrize("pool", [8, 24, 64])
    def test_pool_is_the_highest_window_mean(self, pool):
        maps = maps_of(2)
        side = pool * 32 // 256
        windows = np.lib.stride_tricks.sliding_window_view(maps.astype(np.float64), (side, side), axis=(1, 2))
        expected = windows.mean(axis=(-2, -1)).max(axis=(1, 2))
        np.testing.assert_allclose(score_maps(maps, ScoreAggregation("pool", pool=pool), SIZE), expected, rtol=1e-12)

    def test_window_follows_each_side_of_the_map(self):
        # 4 image pixels are 2 map rows but 1 map column.
        maps = np.array([[[0, 9, 0, 0], [0, 1, 0, 6], [0, 0, 0, 6]]], dtype=np.float32)
        np.testing.assert_allclose(score_maps(maps, ScoreAggregation("pool", pool=4), (6, 16)), [6.0])

    def test_window_is_at_least_one_pixel_and_at_most_the_map(self):
        maps = maps_of(3)
        np.testing.assert_array_equal(score_maps(maps, ScoreAggregation("pool", pool=1), SIZE), maps.max(axis=(1, 2)))
        whole = score_maps(maps, ScoreAggregation("pool", pool=4000), SIZE)
        np.testing.assert_allclose(whole, maps.astype(np.float64).mean(axis=(1, 2)), rtol=1e-9)

    def test_one_huge_score_does_not_spoil_its_neighbours(self):
        maps = np.full((1, 8, 8), 0.25, dtype=np.float32)
        maps[0, 0, 0] = -1e30
        np.testing.assert_array_equal(score_maps(maps, ScoreAggregation("pool", pool=64), SIZE), [0.25])

    def test_all_rules_together_equal_each_alone(self):
        maps = maps_of(4)
        together = score_all(maps, AGGREGATIONS, SIZE)
        assert list(together) == [rule.name for rule in AGGREGATIONS]
        for rule in AGGREGATIONS:
            alone = score_maps(maps, rule, SIZE)
            assert alone.dtype == np.float64
            np.testing.assert_array_equal(together[rule.name], alone)

    def test_a_map_is_scored_alike_in_any_company(self):
        maps = maps_of(5)
        together = score_all(maps, AGGREGATIONS, SIZE)
        single = score_all(maps[2:3], AGGREGATIONS, SIZE)
        for name, scores in together.items():
            np.testing.assert_array_equal(scores[2:3], single[name])

    def test_maps_are_left_alone_and_empty_sets_are_fine(self):
        maps = maps_of(6)
        before = maps.copy()
        score_all(maps, AGGREGATIONS, SIZE)
        np.testing.assert_array_equal(maps, before)
        assert all(len(scores) == 0 for scores in score_all(maps[:0], AGGREGATIONS, SIZE).values())

    def test_wrong_shape_is_refused(self):
        with pytest.raises(ValueError, match=r"\[N, h, w\]"):
            score_all(np.zeros((4, 4), dtype=np.float32), AGGREGATIONS, SIZE)


class TestSmoothing:
    def test_sigma_is_in_image_pixels(self):
        maps = maps_of(7, (3, 16, 32))
        # 16 of 256 rows and 32 of 64 columns: sigma 4 is 0.25 down and 2 across.
        expected = ndimage.gaussian_filter(maps.astype(np.float64), (0, 0.25, 2.0))
        np.testing.assert_allclose(smooth(maps, 4, (256, 64)), expected, atol=1e-6)

    def test_score_is_that_of_the_smoothed_map(self):
        maps = maps_of(8)
        smoothed = score_maps(maps, ScoreAggregation("top", fraction=0.05, sigma=16), SIZE)
        by_hand = score_maps(smooth(maps, 16, SIZE), ScoreAggregation("top", fraction=0.05), SIZE)
        np.testing.assert_array_equal(smoothed, by_hand)

    def test_constant_maps_stay_constant_and_zero_is_no_smoothing(self):
        constant = np.full((2, 8, 8), 7.5, dtype=np.float32)
        np.testing.assert_allclose(smooth(constant, 40, SIZE), 7.5, rtol=1e-6)
        assert smooth(constant, 0, SIZE) is constant


MAP = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
"""Over masks of 8 x 8, each of its pixels stands for 16."""


def score(
    values: npt.NDArray[np.float32], *pixels: tuple[slice | int, slice | int], size: tuple[int, int] = (8, 8)
) -> float:
    """The score of one map under a mask that is True at some places."""
    mask = np.zeros((1, *size), np.bool_)
    for place in pixels:
        mask[(0, *place)] = True
    return float(localisation_scores(values[None], mask)[0])


@pytest.mark.parametrize(
    ("rows", "columns", "expected"),
    [
        (slice(0, 4), slice(0, 4), 1.0),
        (slice(0, 4), slice(4, 8), 2.0),
        (slice(4, 8), slice(0, 4), 3.0),
        (slice(0, 8), slice(0, 4), 3.0),
        (slice(0, 4), slice(0, 8), 2.0),
        (slice(0, 8), slice(0, 8), 4.0),
    ],
)
def test_it_is_the_highest_value_on_the_anomaly_whatever_is_elsewhere(
    rows: slice, columns: slice, expected: float
) -> None:
    assert score(MAP, (rows, columns)) == expected


def test_a_pixel_of_the_map_counts_once_a_quarter_of_it_is_covered() -> None:
    left = (slice(0, 4), slice(0, 4))
    assert LEAST_SHARE == 0.25
    assert score(MAP, left, (0, slice(4, 8))) == 2.0  # 4 of 16
    assert score(MAP, left, (0, slice(4, 7))) == 1.0  # 3 of 16


def test_of_an_anomaly_that_covers_no_pixel_so_far_the_best_covered_counts() -> None:
    assert score(MAP, (0, 0)) == 1.0
    assert score(MAP, (0, 0), (0, 1), (7, 7)) == 1.0  # 2 of 16 against 1 of 16
    assert score(MAP, (0, 0), (7, 7)) == 4.0  # as much of either


def test_rows_are_rows_and_columns_are_columns() -> None:
    wide = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], np.float32)
    assert score(wide, (slice(4, 8), slice(0, 4)), size=(8, 12)) == 4.0
    assert score(wide, (slice(0, 4), slice(8, 12)), size=(8, 12)) == 3.0


def test_a_map_as_large_as_the_image_is_read_under_the_mask() -> None:
    values = np.arange(64, dtype=np.float32).reshape(8, 8)
    assert score(values, (2, slice(3, 6)), (1, 7)) == 21.0


def test_every_map_is_read_under_its_own_mask() -> None:
    masks = np.zeros((3, 8, 8), np.bool_)
    masks[0, :4, :4] = masks[1, 4:, 4:] = masks[2, :4] = True
    found = localisation_scores(np.stack([MAP, -MAP, 10 * MAP]), masks)
    assert found.dtype == np.float64
    assert found.tolist() == [1.0, -4.0, 20.0]


@given(
    arrays(np.float32, (5, 7), elements=st.floats(-100, 100, width=32)),
    arrays(np.bool_, (32, 48)).filter(lambda mask: bool(mask.any())),
)
def test_it_is_some_value_of_the_map_and_under_a_full_mask_its_highest(
    values: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_]
) -> None:
    found, full = localisation_scores(np.stack([values] * 2), np.stack([mask, np.ones_like(mask)]))
    assert found in values
    assert found <= full == values.max()
