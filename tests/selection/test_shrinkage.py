from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from automl_ad.evaluation.metrics import image_auroc
from automl_ad.selection.few_defects import Posterior, placements, posterior, residual_variance
from automl_ad.tuned import NORMALS_NOISE

SHARES = st.floats(0, 1, width=32)


@st.composite
def layouts(draw: st.DrawFn, gaps: bool = True) -> tuple[np.ndarray, float, np.ndarray]:
    """A prior, its spread and placements, some candidates without any."""
    count, pictures = draw(st.integers(1, 6)), draw(st.integers(0, 5))
    prior = np.array(draw(st.lists(st.floats(-1, 1, width=32), min_size=count, max_size=count)), float)
    cells = draw(st.lists(SHARES, min_size=count * pictures, max_size=count * pictures))
    evidence = np.array(cells, float).reshape(count, pictures)
    if gaps:
        evidence[draw(st.lists(st.booleans(), min_size=count, max_size=count))] = np.nan
    return prior, draw(st.floats(0, 0.5, width=32)), evidence


class TestPlacements:
    def test_a_tie_counts_one_half(self) -> None:
        found = placements(np.array([3.0, 1.0, 2.0, 2.0]), np.array([0.0, 2.0, 2.5, 9.0, np.nan]))
        np.testing.assert_array_equal(found, [0, 0.5, 0.75, 1, np.nan])

    @given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.lists(st.integers(0, 5), min_size=1, max_size=8))
    def test_their_mean_is_the_auroc(self, normals: list[int], defects: list[int]) -> None:
        labels = np.r_[np.zeros(len(normals)), np.ones(len(defects))]
        expected = image_auroc(np.array([*normals, *defects], float), labels)
        assert placements(np.array(normals, float), np.array(defects, float)).mean() == pytest.approx(expected)


class TestResidualVariance:
    def test_one_picture_leaves_the_guess(self) -> None:
        # Mean placement 0.5: q = (0.5 + 0.5) / 2 = 0.5, and 0.2 x 0.5 x 0.5 = 0.05.
        assert residual_variance(np.array([[1.0], [0.0]])) == pytest.approx(0.05)

    def test_by_hand(self) -> None:
        # All means are 0.75, all residuals 0.25: mean square 4 x 0.0625 / 1; q = 2/3, guess 0.2 x 2/9, worth two.
        found = residual_variance(np.array([[1.0, 0.5], [0.5, 1.0]]))
        assert found == pytest.approx((2 * 0.2 * 2 / 9 + 0.25) / 3)

    def test_copies_of_candidates_make_it_no_surer(self) -> None:
        evidence = np.array([[1.0, 0.5, 0.9], [0.5, 1.0, 0.7]])
        once, often = residual_variance(evidence), residual_variance(np.repeat(evidence, 20, axis=0))
        assert often >= once / 2  # copies do not differ, which halves the mean square; but no more than that

    def test_perfect_placements_leave_doubt(self) -> None:
        assert 0 < residual_variance(np.ones((4, 20))) < residual_variance(np.ones((4, 1)))


class TestPosterior:
    def test_by_hand(self) -> None:
        found = posterior(np.zeros(2), 0.1, np.array([[1.0], [0.0]]))
        total = 0.01 + 0.05 + NORMALS_NOISE**2
        weight = 0.01 / total
        np.testing.assert_allclose(found.prior, [0.5, 0.5])
        np.testing.assert_allclose(found.means, [0.5 + 0.5 * weight, 0.5 - 0.5 * weight])
        np.testing.assert_allclose(found.deviations, np.sqrt(0.01 * (1 - weight) + weight**2 * total / 2))

    def test_without_evidence_nothing_changes(self) -> None:
        prior = np.array([0.3, 0.1])
        for evidence in (np.empty((2, 0)), np.full((2, 3), np.nan)):
            found = posterior(prior, 0.05, evidence)
            np.testing.assert_array_equal(found.means, prior)
            np.testing.assert_array_equal(found.deviations, [0.05, 0.05])

    def test_many_defects_with_large_differences_decide(self) -> None:
        truth = np.array([0.2, 0.9, 0.5])
        evidence = np.random.default_rng(0).binomial(40, truth[:, None], (3, 400)) / 40
        found = posterior(np.array([0.1, 0.0, 0.05]), 0.2, evidence)
        assert found.order() == [1, 2, 0]
        np.testing.assert_allclose(found.means, truth, atol=0.02)

    def test_a_hard_picture_is_hard_for_all(self) -> None:
        """What all candidates find difficult says nothing of any."""
        evidence = np.array([[0.9, 0.8], [0.7, 0.6]])
        spread = [posterior(np.zeros(2), 0.05, evidence - [[0, gap]]).means for gap in (0.0, 0.2)]
        assert np.ptp(spread[0]) == pytest.approx(np.ptp(spread[1]), rel=0.2)

    def test_one_candidate_alone_learns_nothing_of_itself(self) -> None:
        found = posterior(np.array([0.1]), 0.05, np.array([[0.8, 0.9]]))
        assert found.means[0] == pytest.approx(0.85)
        assert found.deviations[0] == pytest.approx(0.05)

    def test_who_has_no_evidence_keeps_its_expectation(self) -> None:
        prior = np.array([0.10, 0.05, 0.0])
        found = posterior(prior, 0.05, np.array([[0.5, 0.6], [np.nan, np.nan], [0.5, np.nan]]))
        np.testing.assert_allclose(np.diff(found.means), np.diff(prior))
        np.testing.assert_allclose(found.deviations, 0.05)

    def test_more_pictures_and_a_wider_prior_move_further(self) -> None:
        prior, clear = np.array([0.05, 0.0]), np.array([[0.5], [0.9]])
        gaps = [np.diff(posterior(prior, 0.05, np.repeat(clear, k, axis=1)).means)[0] for k in (1, 3, 10)]
        assert gaps == sorted(gaps)
        assert np.diff(posterior(prior, 0.2, clear).means)[0] > gaps[0]

    def test_each_candidate_may_have_a_spread_of_its_own(self) -> None:
        sure = posterior(np.zeros(3), np.array([0.0, 0.1, 0.1]), np.array([[0.2], [0.2], [0.8]]))
        assert sure.means[0] == pytest.approx(sure.prior[0])
        assert sure.means[1] < sure.means[0] < sure.means[2]

    @given(layouts())
    def test_never_nan_and_never_surer_than_certain(self, layout: tuple[np.ndarray, float, np.ndarray]) -> None:
        prior, spread, evidence = layout
        found = posterior(prior, spread, evidence)
        for values in (found.prior, found.means, found.deviations):
            assert np.isfinite(values).all()
        assert (found.deviations >= 0).all()
        assert np.isnan(evidence).any(axis=1).all() or not evidence.shape[1] or found.means.max() <= 1 + 1e-9
        assert (found.deviations <= spread + 1e-9).all()
        assert sorted(found.order()) == list(range(len(prior)))
        assert 0 <= found.certainty(0, len(prior) - 1) <= 1

    @given(layouts(), st.floats(-3, 3))
    def test_an_offset_of_all_matters_not(self, layout: tuple[np.ndarray, float, np.ndarray], offset: float) -> None:
        prior, spread, evidence = layout
        one, other = posterior(prior, spread, evidence), posterior(prior + offset, spread, evidence)
        np.testing.assert_allclose(one.means - one.means[0], other.means - other.means[0], atol=1e-9)

    @given(layouts(gaps=False), st.lists(SHARES, min_size=1, max_size=5))
    def test_equal_placements_leave_the_order_alone(
        self, layout: tuple[np.ndarray, float, np.ndarray], shares: list[float]
    ) -> None:
        prior, spread, _ = layout
        prior = np.round(prior, 3)
        found = posterior(prior, spread, np.tile(np.array(shares), (len(prior), 1)))
        assert found.order() == sorted(range(len(prior)), key=lambda place: -prior[place])

    @pytest.mark.parametrize(("sure", "leader"), [(0.5, 3), (0.75, 1), (0.9, 0)])
    def test_the_leader_is_the_best_of_those_that_are_surely_better(self, sure: float, leader: int) -> None:
        """Better than the first by 0.1 give or take 0.1, not at all, and by 0.2 give or take 0.4."""
        means, deviations = np.array([0.5, 0.6, 0.5, 0.7]), np.array([0.0, 0.1, 0.1, 0.4])
        found = Posterior(means, means, deviations)
        assert found.certainty(1, 0) == pytest.approx(0.841345, abs=1e-5)
        assert found.certainty(3, 0) == pytest.approx(0.691462, abs=1e-5)
        assert found.leader(0, sure) == leader

    def test_certainty_is_even_between_equals_and_total_between_the_certain(self) -> None:
        alike = posterior(np.zeros(2), 0.05, np.full((2, 2), 0.5))
        assert alike.certainty(0, 1) == pytest.approx(0.5)
        certain = posterior(np.array([0.1, 0.0]), 0.0, np.full((2, 2), 0.5))
        assert (certain.certainty(0, 1), certain.certainty(1, 0), certain.certainty(0, 0)) == (1, 0, 0.5)


def regret(truth: np.ndarray, chosen: int) -> float:
    return float(truth.max() - truth[chosen])


def test_three_defects_lower_the_regret_of_the_choice() -> None:
    """Candidates whose truth is 0.04 about what was expected; pictures and residuals as on real sets."""
    rng, before, after, alone = np.random.default_rng(0), [], [], []
    for _ in range(300):
        prior = np.sort(rng.uniform(0, 0.1, 24))
        truth = 0.85 + prior - 0.1 + rng.normal(0, 0.04, 24)
        groups = rng.integers(0, 6, 24)  # like candidates err alike
        residuals = rng.normal(0, 0.07, (6, 3))[groups] + rng.normal(0, 0.07, (24, 3))
        evidence = np.clip(truth[:, None] + rng.normal(0, 0.15, 3) + residuals, 0, 1)
        before.append(regret(truth, int(prior.argmax())))
        after.append(regret(truth, posterior(prior, 0.04, evidence).order()[0]))
        alone.append(regret(truth, int(evidence.mean(axis=1).argmax())))
    assert np.mean(after) < 0.75 * np.mean(before)
    assert np.mean(after) < np.mean(alone)
