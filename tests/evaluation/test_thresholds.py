from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from automl_ad.evaluation.thresholds import overkill_threshold, p_values, smallest_overkill

scores_with_ties = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=30)
shares = st.one_of(st.floats(0.001, 0.999), st.integers(1, 99).map(lambda percent: percent / 100))


class TestPValues:
    def test_hand_computed(self):
        # At or above: 0 of 4, 1 of 4 (the tie counts), 4 of 4.
        np.testing.assert_allclose(p_values([9, 4, 0], [1, 2, 3, 4]), [1 / 5, 2 / 5, 5 / 5])

    @given(scores_with_ties, scores_with_ties)
    def test_against_the_definition(self, scores, calibration):
        expected = [(1 + sum(c >= s for c in calibration)) / (len(calibration) + 1) for s in scores]
        np.testing.assert_array_equal(p_values(scores, calibration), expected)

    def test_bad_scores_are_refused(self):
        with pytest.raises(ValueError, match="calibration scores must be finite"):
            p_values([1.0], [np.nan])
        with pytest.raises(ValueError, match="scores must be finite"):
            p_values([np.inf], [1.0])
        with pytest.raises(ValueError, match="at least one"):
            p_values([1.0], [])

    def test_good_parts_are_rejected_no_more_often_than_promised(self):
        rng = np.random.default_rng(0)
        runs, n, overkill = 4000, 19, 0.1
        drawn = np.round(rng.exponential(size=(runs, n + 1)), 1)  # rounded: with ties
        alarms = [p_values(row[:1], row[1:])[0] <= overkill for row in drawn]
        assert np.mean(alarms) <= overkill + 3 * np.sqrt(0.09 / runs)
        distinct = rng.exponential(size=(runs, n + 1))
        exact = [p_values(row[:1], row[1:])[0] <= overkill for row in distinct]
        assert np.mean(exact) == pytest.approx(overkill, abs=3 * np.sqrt(0.09 / runs))


class TestThreshold:
    @given(scores_with_ties, shares, scores_with_ties)
    def test_decides_as_the_p_value_does(self, calibration, overkill, scores):
        threshold = overkill_threshold(calibration, overkill)
        everything = np.array(scores + calibration)
        by_p_value = p_values(everything, calibration) <= threshold.overkill
        np.testing.assert_array_equal(everything > threshold.value, by_p_value)

    @given(scores_with_ties, shares)
    def test_is_the_smallest_that_keeps_the_promise(self, calibration, overkill):
        threshold = overkill_threshold(calibration, overkill)
        at_the_value = p_values([threshold.value], calibration)[0]
        assert at_the_value > threshold.overkill

    def test_hand_computed(self):
        calibration = np.arange(1, 100, dtype=float)  # 99 scores: one hundredth a step
        assert overkill_threshold(calibration, 0.01).value == 99
        assert overkill_threshold(calibration, 0.05).value == 95
        # 0.29 * 100 is 28.999999999999996 in floating point; the 29th rank must not be lost.
        assert overkill_threshold(calibration, 0.29).value == 71

    def test_supported_request_is_kept_as_asked(self):
        threshold = overkill_threshold(np.arange(99.0), 0.01)
        assert (threshold.supported, threshold.overkill, threshold.requested, threshold.n) == (True, 0.01, 0.01, 99)
        assert "99 calibration images" in threshold.message

    def test_too_few_images_fall_back_to_the_smallest_share_they_support(self):
        threshold = overkill_threshold([3.0, 1.0, 2.0], 0.01)
        assert (threshold.supported, threshold.overkill, threshold.requested) == (False, 0.25, 0.01)
        assert threshold.value == 3.0
        assert "3 calibration images cannot support 1 % overkill" in threshold.message
        assert "25 %" in threshold.message
        assert "99 images would be needed" in threshold.message

    @given(st.floats(0.001, 0.9))
    def test_the_number_of_images_said_to_be_needed_is_right(self, overkill):
        message = overkill_threshold([0.0], overkill).message
        if "would be needed" in message:
            needed = int(message.split("; ")[-1].split()[0])
            assert smallest_overkill(needed) <= overkill < smallest_overkill(needed - 1)

    @given(scores_with_ties, shares, shares)
    def test_more_overkill_never_raises_the_threshold(self, calibration, first, second):
        low, high = sorted((first, second))
        assert overkill_threshold(calibration, high).value <= overkill_threshold(calibration, low).value

    def test_float32_scores_decide_as_float64_ones(self):
        calibration = np.array([0.1, 0.2, 0.3], dtype=np.float32)
        threshold = overkill_threshold(calibration, 0.25)
        assert not (calibration > threshold.value).any()
        assert np.float32(0.3) <= threshold.value < np.nextafter(np.float32(0.3), np.float32(1))

    @pytest.mark.parametrize("overkill", [0, 1, -0.1, 5, np.nan])
    def test_share_out_of_range_is_refused(self, overkill):
        with pytest.raises(ValueError, match="between 0 and 1"):
            overkill_threshold([1.0], overkill)

    def test_no_calibration_is_refused(self):
        with pytest.raises(ValueError, match="at least one"):
            overkill_threshold([], 0.1)
        with pytest.raises(ValueError, match="at least one"):
            smallest_overkill(0)
