from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from automl_ad.bundle.runtime import mask_threshold, overkill_threshold, p_values, smallest_overkill

scores_with_ties = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=30)
shares = st.one_of(st.floats(0.001, 0.999), st.integers(1, 99).map(lambda percent: percent / 100))


class TestPValues:
    def test_hand_computed(self) -> None:
        # At or above: 0 of 4, 1 of 4 (the tie counts), 4 of 4.
        np.testing.assert_allclose(p_values([9, 4, 0], [1, 2, 3, 4]), [1 / 5, 2 / 5, 5 / 5])

    @given(scores_with_ties, scores_with_ties)
    def test_against_the_definition(self, scores: list[float], calibration: list[float]) -> None:
        expected = [(1 + sum(c >= s for c in calibration)) / (len(calibration) + 1) for s in scores]
        np.testing.assert_array_equal(p_values(scores, calibration), expected)

    def test_bad_scores_are_refused(self) -> None:
        with pytest.raises(ValueError, match="calibration scores must be finite"):
            p_values([1.0], [np.nan])
        with pytest.raises(ValueError, match="scores must be finite"):
            p_values([np.inf], [1.0])
        with pytest.raises(ValueError, match="at least one"):
            p_values([1.0], [])

    def test_good_parts_are_rejected_no_more_often_than_guaranteed(self) -> None:
        rng = np.random.default_rng(0)
        runs, n, overkill = 4000, 19, 0.1
        drawn = np.round(rng.exponential(size=(runs, n + 1)), 1)  # rounded: with ties
        alarms = [p_values(row[:1], row[1:])[0] <= overkill for row in drawn]
        assert np.mean(alarms) <= overkill + 3 * np.sqrt(0.09 / runs)
        distinct = rng.exponential(size=(runs, n + 1))
        exact = [p_values(row[:1], row[1:])[0] <= overkill for row in distinct]
        assert np.mean(exact) == pytest.approx(overkill, abs=3 * np.sqrt(0.09 / runs))


class TestOverkill:
    @given(scores_with_ties, shares, scores_with_ties)
    def test_decides_as_the_p_value_does(self, calibration: list[float], overkill: float, scores: list[float]) -> None:
        threshold = overkill_threshold(calibration, overkill)
        everything = np.array(scores + calibration)
        by_p_value = p_values(everything, calibration) <= threshold.overkill
        np.testing.assert_array_equal(everything > threshold.value, by_p_value)

    @given(scores_with_ties, shares)
    def test_is_the_smallest_that_keeps_the_guarantee(self, calibration: list[float], overkill: float) -> None:
        threshold = overkill_threshold(calibration, overkill)
        assert p_values([threshold.value], calibration)[0] > threshold.overkill

    def test_hand_computed(self) -> None:
        calibration = np.arange(1, 100, dtype=float)  # 99 scores: one hundredth a step
        assert overkill_threshold(calibration, 0.01).value == 99
        assert overkill_threshold(calibration, 0.05).value == 95
        # 0.29 * 100 is 28.999999999999996 in floating point; the 29th rank must not be lost.
        assert overkill_threshold(calibration, 0.29).value == 71

    def test_supported_request_is_kept_as_asked(self) -> None:
        threshold = overkill_threshold(np.arange(99.0), 0.01)
        assert (threshold.supported, threshold.overkill, threshold.requested, threshold.n) == (True, 0.01, 0.01, 99)
        assert threshold.message == (
            "Overkill (false positive rate on good parts) is at most 1 % on average, if new good parts are "
            "exchangeable with the 99 calibration images; approximate, as their scores come from cross-validation and "
            "the detector was refitted to all of them."
        )

    def test_too_few_images_fall_back_to_the_smallest_share_they_support(self) -> None:
        threshold = overkill_threshold([3.0, 1.0, 2.0], 0.01)
        assert (threshold.supported, threshold.overkill, threshold.requested) == (False, 0.25, 0.01)
        assert threshold.value == 3.0
        assert threshold.message == (
            "3 calibration images are too few to guarantee at most 1 % overkill: the threshold guarantees 25 %; 99 "
            "images are needed."
        )

    @given(st.floats(0.001, 0.9))
    def test_the_number_of_images_said_to_be_needed_is_right(self, overkill: float) -> None:
        message = overkill_threshold([0.0], overkill).message
        if "would be needed" in message:
            needed = int(message.split("; ")[-1].split()[0])
            assert smallest_overkill(needed) <= overkill < smallest_overkill(needed - 1)

    @given(scores_with_ties, shares, shares)
    def test_more_overkill_never_raises_the_threshold(
        self, calibration: list[float], first: float, second: float
    ) -> None:
        low, high = sorted((first, second))
        assert overkill_threshold(calibration, high).value <= overkill_threshold(calibration, low).value

    def test_float32_scores_decide_as_float64_ones(self) -> None:
        calibration = np.array([0.1, 0.2, 0.3], dtype=np.float32)
        threshold = overkill_threshold(calibration, 0.25)
        assert not (calibration > threshold.value).any()
        assert np.float32(0.3) <= threshold.value < np.nextafter(np.float32(0.3), np.float32(1))

    @pytest.mark.parametrize("overkill", [0, 1, -0.1, 5, np.nan])
    def test_share_out_of_range_is_refused(self, overkill: float) -> None:
        with pytest.raises(ValueError, match="between 0 and 1"):
            overkill_threshold([1.0], overkill)

    def test_no_calibration_is_refused(self) -> None:
        with pytest.raises(ValueError, match="at least one"):
            overkill_threshold([], 0.1)
        with pytest.raises(ValueError, match="at least one"):
            smallest_overkill(0)


class TestMask:
    SHARES = (0.5, 0.1, 0.04, 0.009, 0.0)
    VALUES = (5.0, 20.0, 40.0, 60.0, 90.0)

    @pytest.mark.parametrize(
        ("n", "share", "value"),
        [
            (9, 0.55, 5.0),  # (9 * 0.5 + 1) / 10 is exactly 0.55
            (9, 0.54, 20.0),
            (9, 0.19, 20.0),  # (9 * 0.1 + 1) / 10
            (9, 0.18, 40.0),  # (9 * 0.04 + 1) / 10 is 0.136
            (9, 0.11, 60.0),  # (9 * 0.009 + 1) / 10 is 0.1081
            (99, 0.05, 40.0),  # (99 * 0.04 + 1) / 100 is 0.0496
        ],
    )
    def test_hand_computed(self, n: int, share: float, value: float) -> None:
        found = mask_threshold(self.SHARES, self.VALUES, n, share)
        assert (found.value, found.overkill, found.supported, found.n) == (value, share, True, n)

    def test_supported_message(self) -> None:
        assert mask_threshold(self.SHARES, self.VALUES, 99, 0.05).message == (
            "At most 5 % of a good part's pixels are marked on average, if new good parts are exchangeable with the 99 "
            "calibration images; approximate, as their scores come from cross-validation and the detector was "
            "refitted to all of them."
        )

    def test_too_few_images_fall_back_to_the_smallest_share_of_the_table(self) -> None:
        found = mask_threshold(self.SHARES, self.VALUES, 9, 0.05)
        assert (found.value, found.overkill, found.requested, found.supported) == (90.0, 0.1, 0.05, False)
        assert found.message == (
            "9 calibration images are too few to guarantee at most 5 % marked pixels: the threshold guarantees 10 %; "
            "19 images are needed."
        )

    def test_a_table_without_zero_supports_less_than_the_images_would(self) -> None:
        # (9 * 0.1 + 1) / 10: one tenth would be 1/(n+1), but the table ends before.
        found = mask_threshold(self.SHARES[:2], self.VALUES[:2], 9, 0.15)
        assert (found.value, found.supported) == (20.0, False)
        assert found.overkill == pytest.approx(0.19)

    @given(st.integers(1, 400), shares)
    def test_is_the_smallest_value_that_keeps_the_guarantee(self, n: int, share: float) -> None:
        found = mask_threshold(self.SHARES, self.VALUES, n, share)
        risks = {value: (n * s + 1) / (n + 1) for s, value in zip(self.SHARES, self.VALUES, strict=True)}
        assert risks[found.value] <= found.overkill
        assert all(risk > found.overkill for value, risk in risks.items() if value < found.value)
        assert found.supported == (found.overkill == share)
        again = mask_threshold(self.SHARES, self.VALUES, n, found.overkill)
        assert (again.value, again.supported) == (found.value, True)

    def test_good_parts_are_marked_no_more_than_guaranteed(self) -> None:
        rng = np.random.default_rng(1)
        n, share, runs = 19, 0.1, 1500
        quantiles = np.linspace(0.5, 1, 60)
        marked = []
        for _ in range(runs):
            # Parts differ more than the pixels of one part do: the guarantee is an average over parts.
            parts = rng.normal(0, 1, (n + 1, 1)) + rng.normal(0, 0.5, (n + 1, 25))
            values = np.quantile(parts[1:], quantiles, method="higher")
            table = [(parts[1:] > value).mean() for value in values]
            marked.append((parts[0] > mask_threshold(table, values, n, share).value).mean())
        assert np.mean(marked) <= share + 3 * np.std(marked) / np.sqrt(runs)

    @pytest.mark.parametrize("share", [0, 1, -0.1, np.nan])
    def test_share_out_of_range_is_refused(self, share: float) -> None:
        with pytest.raises(ValueError, match="between 0 and 1"):
            mask_threshold(self.SHARES, self.VALUES, 9, share)

    def test_an_unusable_table_is_refused(self) -> None:
        with pytest.raises(ValueError, match="pixel values must be finite"):
            mask_threshold([0.1], [np.inf], 9, 0.5)
        with pytest.raises(ValueError, match="needs calibration images"):
            mask_threshold([], [], 9, 0.5)
        with pytest.raises(ValueError, match="needs calibration images"):
            mask_threshold([0.1], [1.0], 0, 0.5)
