from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from automl_ad.evaluation.proportions import chance_by_calibration, chance_of_as_many, exact_interval


def test_intervals_in_closed_form() -> None:
    """With none, one or all of n the tails are powers that can be solved by hand."""
    assert exact_interval(0, 10) == (0.0, pytest.approx(1 - 0.05**0.1))
    assert exact_interval(10, 10) == (pytest.approx(0.05**0.1), 1.0)
    assert exact_interval(1, 4)[0] == pytest.approx(1 - 0.95**0.25)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
@pytest.mark.parametrize(("count", "of"), [(1, 4), (3, 17), (40, 41), (7, 5000)])
def test_intervals_are_quantiles_of_beta(count: int, of: int, level: float) -> None:
    """The form in which Clopper and Pearson's interval is usually written."""
    low, high = exact_interval(count, of, level)
    assert low == pytest.approx(stats.beta.ppf((1 - level) / 2, count, of - count + 1), abs=1e-12)
    assert high == pytest.approx(stats.beta.ppf((1 + level) / 2, count + 1, of - count), abs=1e-12)


@pytest.mark.parametrize(("count", "of"), [(1, 4), (3, 17), (40, 41)])
def test_the_ends_are_the_shares_that_the_count_just_allows(count: int, of: int) -> None:
    low, high = exact_interval(count, of)
    assert stats.binom.sf(count - 1, of, low) == pytest.approx(0.05)
    assert stats.binom.cdf(count, of, high) == pytest.approx(0.05)
    mirrored = exact_interval(of - count, of)
    assert mirrored == (pytest.approx(1 - high), pytest.approx(1 - low))


def test_the_binomial_chance_by_hand() -> None:
    assert chance_of_as_many(0, 4, 0.1) == 1.0
    assert chance_of_as_many(1, 4, 0.1) == pytest.approx(1 - 0.9**4)
    assert chance_of_as_many(4, 4, 0.1) == pytest.approx(0.1**4)
    assert chance_of_as_many(1, 4, 0.0) == 0.0


def test_the_chance_by_calibration_by_hand() -> None:
    """One good image lies above the k-th highest of n scores in k of n + 1 cases, being any of the ranks alike."""
    assert chance_by_calibration(1, 1, 2, 9) == pytest.approx(0.2)
    assert chance_by_calibration(0, 5, 2, 9) == 1.0
    # Both of two above the highest of one: of the three, the calibration image is the lowest.
    assert chance_by_calibration(2, 2, 1, 1) == pytest.approx(1 / 3)
    assert chance_by_calibration(3, 3, 10, 9) == 1.0


def test_the_chance_by_calibration_against_drawn_lines() -> None:
    rng = np.random.default_rng(0)
    calibration = np.sort(rng.random((20000, 19)), axis=1)
    alarms = (rng.random((20000, 12)) > calibration[:, [-2]]).sum(axis=1)
    assert chance_by_calibration(4, 12, 2, 19) == pytest.approx((alarms >= 4).mean(), abs=0.01)


@pytest.mark.parametrize(("count", "of"), [(-1, 3), (4, 3), (0, 0)])
def test_impossible_counts_are_refused(count: int, of: int) -> None:
    with pytest.raises(ValueError, match="share needs a count"):
        exact_interval(count, of)


def test_numbers_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="level"):
        exact_interval(1, 2, 1.0)
    with pytest.raises(ValueError, match="share must be"):
        chance_of_as_many(1, 2, 1.1)
    with pytest.raises(ValueError, match="rank"):
        chance_by_calibration(1, 2, 0, 5)
