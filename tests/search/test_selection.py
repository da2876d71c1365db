from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from automl_ad.search.selection import Finalist, certainty_gaps, decide, informative_cells, rank_scores


def finalist(number: int, value: float, spread: float = 0.0, latency: float = 10.0, seed: int = 0) -> Finalist:
    noise = np.random.default_rng(seed).normal(0, spread, 200) if spread else np.zeros(200)
    return Finalist(number, value + noise, value, latency)


def test_cells_that_all_but_a_few_solve_carry_no_weight() -> None:
    table = np.array([[1.0, 0.7, 0.8], [1.0, 0.8, 0.8], [0.999, 0.6, 0.8], [0.998, 0.9, 0.8]])
    assert informative_cells(table).tolist() == [False, True, False]


def test_when_no_cell_tells_anything_all_count() -> None:
    assert informative_cells(np.ones((3, 2))).tolist() == [True, True]
    assert rank_scores(np.ones((3, 2))).tolist() == [0.5, 0.5, 0.5]


def test_rank_scores_by_hand() -> None:
    # Five cells: a fifth is trimmed at either end, so each candidate keeps its middle three shares.
    table = np.array([[0.9, 0.9, 0.9, 0.9, 0.1], [0.8, 0.8, 0.8, 0.8, 0.9], [0.7, 0.7, 0.7, 0.7, 0.5]])
    assert rank_scores(table).tolist() == [1.0, 0.5, 0.0]


def test_one_outlying_cell_does_not_decide() -> None:
    table = np.array([[0.70, 0.71, 0.72, 0.73, 0.10], [0.69, 0.70, 0.71, 0.72, 0.99]])
    assert np.mean(table[1]) > np.mean(table[0])
    first, second = rank_scores(table)
    assert first > second


def test_a_single_candidate_ranks_first() -> None:
    assert rank_scores(np.array([[0.6, 0.7]])).tolist() == [1.0]


@given(arrays(np.float64, (5, 6), elements=st.floats(0.3, 0.99)))
def test_ranks_ignore_any_rising_transform_and_stay_between_zero_and_one(table: np.ndarray) -> None:
    scores = rank_scores(table)
    assert ((scores >= 0) & (scores <= 1)).all()
    np.testing.assert_allclose(scores, rank_scores(np.float64(0.5) * table), atol=1e-12)


def test_the_default_stays_when_nothing_beats_it_beyond_noise() -> None:
    decision = decide([finalist(4, 0.85, 0.05, seed=1), finalist(0, 0.84, 0.05, seed=2)], default=0)
    assert (decision.winner, decision.default_kept) == (0, True)
    assert decision.tied == (0, 4)
    assert "not beyond noise" in decision.why[0]


def test_a_clear_gain_unseats_the_default() -> None:
    decision = decide([finalist(4, 0.95, 0.01, seed=1), finalist(0, 0.80, 0.01, seed=2)], default=0)
    assert (decision.winner, decision.default_kept, decision.tied) == (4, False, (4,))


def test_paired_draws_tell_apart_what_separate_intervals_could_not() -> None:
    shared = np.random.default_rng(0).normal(0, 0.1, 200)
    better, default = Finalist(1, 0.83 + shared, 0.83, 10), Finalist(0, 0.80 + shared, 0.80, 10)
    assert np.quantile(better.draws, 0.05) < np.quantile(default.draws, 0.95)
    assert decide([better, default], default=0).winner == 1


def test_within_the_tied_set_a_clearly_faster_candidate_wins() -> None:
    slow, fast = finalist(3, 0.90, 0.05, latency=100, seed=1), finalist(5, 0.89, 0.05, latency=20, seed=2)
    decision = decide([slow, fast, finalist(0, 0.5, 0.01, seed=3)], default=0)
    assert decision.winner == 5
    assert decision.tied == (3, 5)


def test_a_slightly_faster_candidate_is_timing_noise() -> None:
    leader, near = finalist(3, 0.90, 0.05, latency=30, seed=1), finalist(5, 0.89, 0.05, latency=20, seed=2)
    assert decide([leader, near, finalist(0, 0.5, 0.01, seed=3)], default=0).winner == 3


def test_without_a_usable_default_the_best_wins() -> None:
    assert decide([finalist(2, 0.7), finalist(1, 0.6)], default=None).winner == 2
    assert decide([finalist(2, 0.7), finalist(1, 0.6)], default=0).winner == 2


def test_the_default_may_win_by_itself() -> None:
    decision = decide([finalist(0, 0.9), finalist(1, 0.6)], default=0)
    assert decision.winner == 0
    assert decision.default_kept


@pytest.mark.parametrize("families", [{"texture": 0.9}, {"texture": 0.9, "poisson": 0.7}])
def test_what_was_not_seen_is_said(families: dict[str, float]) -> None:
    assert all(family in certainty_gaps(families)[0] for family in families)


def test_a_faster_candidate_that_does_not_beat_the_default_cannot_win() -> None:
    default, leader = finalist(0, 0.85, 0.001, seed=1), finalist(3, 0.93, 0.002, latency=100, seed=2)
    unsure = finalist(5, 0.86, 0.08, latency=10, seed=3)
    decision = decide([leader, unsure, default], default=0)
    assert 5 in decision.tied
    assert decision.winner == 3
    assert "beats the training-free default" in " ".join(decision.why)


def test_a_leading_default_stays_though_others_are_faster() -> None:
    default, fast = finalist(0, 0.9, 0.05, latency=100, seed=1), finalist(5, 0.89, 0.05, latency=10, seed=2)
    decision = decide([default, fast], default=0)
    assert decision.winner == 0
    assert decision.default_kept
    assert "leads on the certify images" in decision.why[0]


def test_the_best_of_many_equals_does_not_unseat_the_default() -> None:
    rng = np.random.default_rng(0)
    unseated = 0
    for _ in range(200):
        values = rng.normal(0.8, 0.02, 7)
        finalists = [Finalist(i, value + rng.normal(0, 0.02, 400), value, 10.0) for i, value in enumerate(values)]
        unseated += decide(finalists, default=0).winner != 0
    assert unseated < 0.15 * 200


def test_without_a_guard_the_reader_is_told() -> None:
    assert "No default" in " ".join(decide([finalist(2, 0.7)], default=None).why)
