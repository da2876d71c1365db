from __future__ import annotations

import time
from dataclasses import replace
from random import Random

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from automl_ad.search.selection import (
    EQUAL,
    TRIM,
    Decision,
    Finalist,
    certainty_gaps,
    decide,
    informative_cells,
    rank_scores,
)

Table = npt.NDArray[np.float64]


SAMPLES = 101
"""Bootstrap samples: each counts for one percent, and quantiles are exact."""


def finalist(number: int, value: float, latency: float = 10.0) -> Finalist:
    """One that no resampling changes."""
    return Finalist(number, np.full(SAMPLES, value), np.full(SAMPLES, value), value, latency)


def beside(
    other: Finalist,
    number: int,
    value: float,
    *,
    behind: int = 0,
    behind_in_wide: int | None = None,
    latency: float = 10.0,
) -> Finalist:
    """One that is 0.1 worse than another in so many samples of images, and of images and families; else 0.1 better."""

    def draws(of: Table, worse: int) -> Table:
        return of + np.where(np.arange(SAMPLES) < worse, -0.1, 0.1)

    wide = behind if behind_in_wide is None else behind_in_wide
    return Finalist(number, draws(other.draws, behind), draws(other.wide, wide), value, latency)


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


def at_home(shape: tuple[int, int], *places: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """True at (candidate, cell) of each place."""
    home = np.zeros(shape, bool)
    for place in places:
        home[place] = True
    return home


class TestHome:
    """Cells of families that a candidate learned from."""

    def test_nobody_at_home_changes_nothing(self) -> None:
        table = np.random.default_rng(0).uniform(0.3, 0.99, (4, 7))
        np.testing.assert_array_equal(rank_scores(table, at_home(table.shape)), rank_scores(table))

    def test_perfect_at_home_and_worst_elsewhere_is_last(self) -> None:
        table = np.array([[0.9, 0.9, 0.5, 0.5, 0.5], [0.8, 0.7, 0.6, 0.7, 0.6], [0.7, 0.8, 0.7, 0.6, 0.7]])
        assert rank_scores(table)[0] == pytest.approx(1 / 3)  # 1, 1, 0, 0, 0 with a fifth trimmed at either end
        scores = rank_scores(table, at_home(table.shape, (0, 0), (0, 1)))
        # Both others beat it in the last three cells, which is what the first two are then taken to say.
        # Shares of the second candidate: 1, 0.5, 0.5, 1, 0.5; of the third: 0.5, 1, 1, 0.5, 1.
        assert scores.tolist() == pytest.approx([0.0, 2 / 3, 5 / 6])

    def test_by_hand_where_neither_wins_everywhere(self) -> None:
        table = np.array([[0.9, 0.9, 0.7, 0.8], [0.8, 0.6, 0.8, 0.7], [0.7, 0.7, 0.6, 0.6]])
        scores = rank_scores(table, at_home(table.shape, (0, 0), (0, 1)))
        # Four cells are too few to trim. Away, the first beats the second in one cell of two and the third in both.
        # Where it is at home, the second counts as half beaten by it and the third as beaten.
        assert scores.tolist() == pytest.approx([0.75, (0.75 + 0.25 + 1 + 0.5) / 4, (0 + 0.5 + 0 + 0) / 4])

    def test_how_one_fares_at_home_is_nothing_to_the_others(self) -> None:
        away = [[0.8, 0.6, 0.7, 0.8, 0.5], [0.7, 0.7, 0.6, 0.9, 0.6], [0.6, 0.8, 0.5, 0.7, 0.7]]
        places = at_home((4, 5), (3, 0), (3, 1))
        ranked = [
            rank_scores(np.array([*away, [value, value, 0.55, 0.85, 0.65]]), places).tolist()
            for value in (0.3, 0.65, 0.99)
        ]
        assert ranked[0] == ranked[1] == ranked[2]

    def test_two_without_any_ground_in_common_tie(self) -> None:
        table = np.array([[0.9, 0.9, 0.3], [0.4, 0.5, 0.9]])
        assert rank_scores(table, at_home(table.shape, (0, 0), (0, 1), (1, 2))).tolist() == [0.5, 0.5]

    def test_one_without_any_ground_of_its_own_is_in_the_middle(self) -> None:
        table = np.array([[0.9, 0.9], [0.8, 0.8], [0.7, 0.7]])
        # The other two beat, or not, each other, and are even with the first.
        assert rank_scores(table, at_home(table.shape, (0, 0), (0, 1))).tolist() == [0.5, 0.75, 0.25]

    def test_everybody_at_home_everywhere_leaves_nothing_to_tell(self) -> None:
        table = np.array([[0.9, 0.9], [0.8, 0.8], [0.7, 0.7]])
        assert rank_scores(table, np.ones_like(table, bool)).tolist() == [0.5, 0.5, 0.5]

    def test_a_single_candidate_ranks_first_even_there(self) -> None:
        assert rank_scores(np.array([[0.6, 0.7]]), np.ones((1, 2), bool)).tolist() == [1.0]

    def test_a_home_among_cells_that_tell_nothing_is_passed_over_with_them(self) -> None:
        table = np.array([[1.0, 0.7, 0.8], [1.0, 0.8, 0.8], [0.999, 0.6, 0.8], [0.998, 0.9, 0.8]])
        home = at_home(table.shape, (0, 0), (1, 2))
        np.testing.assert_array_equal(rank_scores(table, home), rank_scores(table))


@st.composite
def tables(draw: st.DrawFn) -> tuple[Table, npt.NDArray[np.bool_]]:
    """No two candidates are equal in a cell, and none is near perfect: every cell tells something."""
    candidates, cells = draw(st.integers(2, 6)), draw(st.integers(1, 7))
    columns = [draw(st.permutations(range(candidates))) for _ in range(cells)]
    home = draw(arrays(np.bool_, (candidates, cells)))
    return 0.3 + 0.1 * np.array(columns, np.float64).T, home


@given(tables())
def test_scores_with_homes_lie_between_zero_and_one(drawn: tuple[Table, npt.NDArray[np.bool_]]) -> None:
    scores = rank_scores(*drawn)
    assert ((scores >= 0) & (scores <= 1)).all()


@given(tables(), st.randoms(use_true_random=False))
def test_neither_the_order_of_candidates_nor_of_cells_matters(
    drawn: tuple[Table, npt.NDArray[np.bool_]], random: Random
) -> None:
    table, home = drawn
    rows, columns = (random.sample(range(size), size) for size in table.shape)
    shuffled = rank_scores(table[rows][:, columns], home[rows][:, columns])
    np.testing.assert_allclose(shuffled, rank_scores(table, home)[rows], atol=1e-12)


@given(tables(), st.data())
def test_another_cell_at_home_is_nothing_to_whom_it_is_home(
    drawn: tuple[Table, npt.NDArray[np.bool_]], data: st.DataObject
) -> None:
    """Its score is what it was, whatever anybody reaches there and whoever else is at home."""
    table, home = drawn
    row = data.draw(st.integers(0, len(table) - 1))
    values = 0.3 + 0.1 * np.array(data.draw(st.permutations(range(len(table)))), np.float64)
    homes = data.draw(arrays(np.bool_, len(table)))
    homes[row] = True
    more = rank_scores(np.c_[table, values], np.c_[home, homes])
    np.testing.assert_allclose(more[row], rank_scores(table, home)[row], atol=1e-12)


@given(tables(), st.data())
def test_values_at_home_are_nothing_to_anybody(drawn: tuple[Table, npt.NDArray[np.bool_]], data: st.DataObject) -> None:
    table, home = drawn
    assume(((~home).sum(0) >= 2).all())  # else a cell may be left that tells nothing of those who are not at home
    others = data.draw(arrays(np.float64, table.shape, elements=st.floats(0.3, 0.9)))
    changed = rank_scores(np.where(home, others, table), home)
    np.testing.assert_allclose(changed, rank_scores(table, home), atol=1e-12)


@given(tables())
def test_who_wins_wherever_two_can_be_compared_scores_one_and_who_loses_there_nothing(
    drawn: tuple[Table, npt.NDArray[np.bool_]],
) -> None:
    table, home = drawn
    home[:, 0] = False  # a ground in common
    order = np.sort(table, axis=0)
    table = np.where(home, table, order[:, :1])  # away, the first is worst of all and the last is best
    scores = rank_scores(table, home)
    assert (scores[0], scores[-1]) == (0, 1)
    assert (np.diff(scores) > 0).all()


def plainly_ranked(table: Table, home: npt.NDArray[np.bool_]) -> Table:
    """What rank scores mean, pair by pair."""
    useful = informative_cells(np.where(home, np.nan, table))
    table, home = table[:, useful], home[:, useful]
    scores = np.empty(len(table))
    for row, (values, at_home) in enumerate(zip(table, home, strict=True)):
        others = np.arange(len(table)) != row
        wins = (np.sign(values - table[others]) + 1) / 2
        away = ~(home[others] | at_home)
        usual = np.where(away, wins, 0).sum(1) / np.maximum(away.sum(1), 1)
        usual[~away.any(1)] = 0.5
        shares = np.where(away, wins, usual[:, None]).mean(0)
        scores[row] = stats.trim_mean(shares if at_home.all() else shares[~at_home], TRIM)
    return scores


@st.composite
def families_at_home(draw: st.DrawFn) -> tuple[Table, npt.NDArray[np.bool_]]:
    """Tables with many ties, in which few or no sets of cells are learned from, each by several candidates."""
    shape = draw(st.integers(2, 12)), draw(st.integers(1, 8))
    table = draw(arrays(np.float64, shape, elements=st.sampled_from([0.5, 0.6, 0.7, 0.996, 1.0]) | st.floats(0, 1)))
    kinds = draw(arrays(np.bool_, (draw(st.integers(1, 3)), shape[1])))
    kinds[0] &= draw(st.booleans())
    return table, kinds[draw(arrays(np.int64, shape[0], elements=st.integers(0, len(kinds) - 1)))]


@given(tables() | families_at_home())
def test_scores_are_those_of_looking_at_every_pair(drawn: tuple[Table, npt.NDArray[np.bool_]]) -> None:
    np.testing.assert_allclose(rank_scores(*drawn), plainly_ranked(*drawn), rtol=0, atol=1e-12)


def test_thousands_are_ranked_while_a_page_loads() -> None:
    rng = np.random.default_rng(0)
    table = rng.uniform(0.5, 0.99, (5000, 20))
    learned = np.zeros((3, 20), bool)
    learned[1, :4] = learned[2, 4:8] = True
    home = learned[rng.integers(0, 3, len(table))]
    start = time.process_time()
    scores = rank_scores(table, home)
    assert time.process_time() - start < 1  # 0.06 s where it was written; all pairs took a minute
    some = np.arange(0, 5000, 20)
    np.testing.assert_allclose(rank_scores(table[some], home[some]), plainly_ranked(table[some], home[some]))
    assert len(scores) == 5000


class TestDefault:
    """The training-free default stands guard."""

    @pytest.mark.parametrize(("behind", "kept"), [(0, False), (5, False), (6, True), (50, True), (101, True)])
    def test_it_stays_unless_one_surpasses_it_in_95_of_100_samples_of_images_and_families(
        self, behind: int, kept: bool
    ) -> None:
        default = finalist(0, 0.8)
        decision = decide([beside(default, 4, 0.85, behind_in_wide=behind), default], default=0)
        assert (decision.winner, decision.default_kept) == ((0, True) if kept else (4, False))
        assert ("stays" in decision.why[0] and "not beyond noise" in decision.why[0]) == kept

    @pytest.mark.parametrize(("behind", "kept"), [(0, False), (10, False), (11, True), (50, True), (101, True)])
    def test_an_average_takes_its_place_if_it_beats_it_in_nine_of_ten_samples_of_the_images(
        self, behind: int, kept: bool
    ) -> None:
        default = finalist(0, 0.8)
        average = beside(default, 4, 0.85, behind=behind, behind_in_wide=60)
        decision = decide([average, default], default=0, averages={4})
        assert (decision.winner, decision.default_kept) == ((0, True) if kept else (4, False))
        assert ("averages the default" in " ".join(decision.why)) == (not kept)

    def test_a_draw_is_no_win(self) -> None:
        default, equal = finalist(0, 0.8), replace(finalist(4, 0.8), value=0.81)
        for averages in ((), {4}):
            assert decide([equal, default], default=0, averages=averages).default_kept

    @pytest.mark.parametrize("rivals", [0, 1, 10])
    def test_how_many_compete_makes_it_no_harder_to_unseat(self, rivals: int) -> None:
        default = finalist(0, 0.8)
        others = [finalist(number, 0.7) for number in range(1, 1 + rivals)]
        assert decide([beside(default, 50, 0.85, behind=5), *others, default], default=0).winner == 50
        assert decide([beside(default, 50, 0.85, behind=10), *others, default], default=0, averages={50}).winner == 50

    @pytest.mark.parametrize(("averages", "share"), [({1}, 0.1), ((), 0.05)])
    def test_an_equal_unseats_it_as_often_as_the_level_says(self, averages: set[int], share: float) -> None:
        rng = np.random.default_rng(0)
        unseated = 0
        for _ in range(400):
            values = rng.normal(0.8, 0.02, 2)
            draws = [value + rng.normal(0, 0.02, 200) for value in values]
            pair = [Finalist(i, each, each, values[i], 10.0) for i, each in enumerate(draws)]
            unseated += decide(pair, default=0, averages=averages).winner != 0
        assert 0.5 * share * 400 < unseated < 1.5 * share * 400

    def test_paired_draws_tell_apart_what_separate_intervals_could_not(self) -> None:
        shared = np.random.default_rng(0).normal(0, 0.1, 200)
        better, default = (
            Finalist(number, value + shared, value + shared, value, 10) for number, value in ((1, 0.83), (0, 0.80))
        )
        assert np.quantile(better.draws, 0.05) < np.quantile(default.draws, 0.95)
        assert decide([better, default], default=0).winner == 1

    def test_it_is_first_of_the_tied_where_it_stays(self) -> None:
        default = finalist(0, 0.8)
        leader = beside(default, 4, 0.85, behind=30)
        other = beside(leader, 6, 0.84, behind_in_wide=90)
        decision = decide([other, leader, default, finalist(7, 0.3)], default=0)
        assert (decision.winner, decision.tied) == (0, (0, 4, 6))
        assert "3 candidates are tied" in decision.why[-1]

    def test_it_may_win_by_itself(self) -> None:
        decision = decide([finalist(0, 0.9), finalist(1, 0.6)], default=0)
        assert (decision.winner, decision.default_kept, decision.tied) == (0, True, (0,))
        assert "leads in the final check" in decision.why[0]
        assert "0.900" in decision.why[0]

    def test_where_it_leads_it_stays_though_others_are_faster(self) -> None:
        default = finalist(0, 0.9, latency=100)
        decision = decide([default, beside(default, 5, 0.899, behind=50, latency=10)], default=0)
        assert (decision.winner, decision.default_kept, decision.tied) == (0, True, (0, 5))

    def test_without_a_usable_one_the_best_wins(self) -> None:
        for default in (None, 0):
            for averages in ((), {1}, {2}):
                decision = decide([finalist(2, 0.7), finalist(1, 0.6)], default=default, averages=averages)
                assert (decision.winner, decision.default_kept) == (2, False)
                assert "No default" in " ".join(decision.why)


class TestAverages:
    """They hedge the default: it is easier for them to take its place, and harder for others to take theirs."""

    def test_the_best_of_those_that_beat_the_default_takes_its_place(self) -> None:
        default = finalist(0, 0.8)
        averages = [beside(default, 7, 0.83), beside(default, 8, 0.84), beside(default, 9, 0.9, behind=20)]
        decision = decide([*averages, default], default=0, averages={7, 8, 9})
        assert (decision.winner, decision.default_kept) == (8, False)
        assert "safer choice" in decision.why[0]

    @pytest.mark.parametrize(("behind", "winner"), [(5, 4), (6, 8)])
    def test_a_single_candidate_has_to_surpass_the_average_as_it_had_the_default(
        self, behind: int, winner: int
    ) -> None:
        default = finalist(0, 0.8)
        average = beside(default, 8, 0.84)
        single = beside(average, 4, 0.9, behind_in_wide=behind)
        decision = decide([single, average, default], default=0, averages={8})
        assert decision.winner == winner
        assert (8 in decision.tied) == (winner == 8)

    @pytest.mark.parametrize(("default", "said"), [(0, True), (None, False)])
    def test_what_is_said_of_an_average(self, default: int | None, said: bool) -> None:
        guard = finalist(0, 0.8)
        finalists = [beside(guard, 8, 0.9), *([guard] if default == 0 else [])]
        decision = decide(finalists, default=default, averages={8})
        assert decision.winner == 8
        assert ("averages the default" in " ".join(decision.why)) == said

    def test_one_that_does_not_beat_the_default_stands_in_nobodys_way(self) -> None:
        default = finalist(0, 0.8)
        average = beside(default, 8, 0.95, behind=30)
        single = beside(default, 4, 0.9)
        assert decide([average, single, default], default=0, averages={8}).winner == 4


class TestTies:
    """Real defects are of no family that was drawn: a tie is judged by samples of families, too."""

    @pytest.mark.parametrize(("behind", "tied"), [(0, (3,)), (5, (3,)), (6, (3, 5)), (50, (3, 5))])
    def test_tied_is_whom_the_leader_does_not_surpass_in_95_of_100_wide_samples(
        self, behind: int, tied: tuple[int, ...]
    ) -> None:
        other = finalist(5, 0.8)
        decision = decide([other, beside(other, 3, 0.85, behind_in_wide=behind)], default=None)
        assert (decision.winner, decision.tied) == (3, tied)

    def test_what_other_images_alone_could_change_makes_no_tie(self) -> None:
        other = finalist(5, 0.8)
        assert decide([other, beside(other, 3, 0.85, behind=60, behind_in_wide=0)], default=None).tied == (3,)

    def test_the_best_come_first(self) -> None:
        noisy = [
            replace(finalist(n, value), wide=np.linspace(0, 1, SAMPLES)) for n, value in ((1, 0.7), (2, 0.9), (3, 0.8))
        ]
        assert decide(noisy, default=None).tied == (2, 3, 1)


class TestSpeed:
    def choose(self, value: float, latency: float, behind_in_wide: int = 50) -> Decision:
        """The best, of 0.9 and 100 ms, beside one of which it is ahead in the other samples."""
        other = finalist(5, value, latency)
        leader = beside(other, 3, 0.9, behind_in_wide=behind_in_wide, latency=100)
        return decide([leader, other, finalist(0, 0.2)], default=0)

    @pytest.mark.parametrize(
        ("value", "winner"), [(0.9, 5), (0.9 - EQUAL + 1e-6, 5), (0.9 - EQUAL - 1e-6, 3), (0.89, 3)]
    )
    def test_a_faster_one_wins_if_it_is_as_good_for_all_that_matters(self, value: float, winner: int) -> None:
        decision = self.choose(value, 20)
        assert (EQUAL, decision.winner) == (0.005, winner)
        assert sorted(decision.tied) == [3, 5]
        assert decision.tied[0] == winner

    @pytest.mark.parametrize(("latency", "winner"), [(20, 5), (50, 5), (51, 3), (99, 3)])
    def test_a_slightly_faster_one_is_timing_noise(self, latency: float, winner: int) -> None:
        assert self.choose(0.899, latency).winner == winner

    def test_only_one_that_is_tied_wins(self) -> None:
        decision = self.choose(0.899, 20, behind_in_wide=5)
        assert (decision.winner, decision.tied) == (3, (3,))

    def test_the_fastest_of_several_wins(self) -> None:
        leader = finalist(3, 0.9, 100)
        others = [finalist(number, 0.9, latency) for number, latency in ((5, 40), (6, 10), (7, 30))]
        decision = decide([leader, *others], default=None)
        assert decision.winner == 6
        assert "needs 10 ms instead of 100 ms" in decision.why[0]

    @pytest.mark.parametrize(("in_half", "winner"), [(0.01, 5), (-0.01, 3)])
    def test_it_has_to_surpass_the_default_as_well(self, in_half: float, winner: int) -> None:
        default = finalist(0, 0.85)
        leader = beside(default, 3, 0.93, latency=100)
        gained = np.where(np.arange(SAMPLES) < 50, in_half, 0.2)
        quick = replace(finalist(5, 0.927, 10), draws=leader.draws, wide=default.wide + gained)
        decision = decide([leader, quick, default], default=0)
        assert decision.winner == winner
        assert 5 in decision.tied
        assert "beats the training-free default" in " ".join(decision.why)

    def test_an_average_that_holds_the_place_of_the_default_keeps_it(self) -> None:
        default = finalist(0, 0.8)
        average = beside(default, 8, 0.84, latency=100)
        single = beside(default, 4, 0.84, latency=10, behind_in_wide=3)
        assert decide([average, single, default], default=0, averages={8}).winner == 8


class TestCertainty:
    """How likely the winner is truly as good as whom it is held against: 0.15 of the proxy score are one sigma."""

    def wide(self, number: int, *values: float, value: float) -> Finalist:
        return Finalist(number, np.full(len(values), value), np.array(values), value, 10.0)

    SIGMA = (0.158655, 0.841345, 0.977250)
    """The normal distribution at -1, 1 and 2."""

    def test_the_default_is_held_against_the_best_of_the_others(self) -> None:
        default = self.wide(0, 0.5, 0.5, 0.5, value=0.5)
        leader = self.wide(4, 0.35, 0.5, 0.65, value=0.55)
        other = self.wide(5, 0.9, 0.1, 0.1, value=0.4)
        decision = decide([leader, other, default], default=0)
        assert (decision.winner, decision.certainty) == (0, pytest.approx((self.SIGMA[1] + 0.5 + self.SIGMA[0]) / 3))

    def test_who_unseats_the_default_is_held_against_it(self) -> None:
        default = self.wide(0, 0.5, 0.5, value=0.5)
        average = self.wide(8, 0.8, 0.35, value=0.55)
        leader = self.wide(4, 0.1, 0.9, value=0.6)
        decision = decide([leader, average, default], default=0, averages={8})
        assert (decision.winner, decision.certainty) == (
            8,
            pytest.approx((self.SIGMA[2] + self.SIGMA[0]) / 2, abs=1e-5),
        )

    def test_without_a_default_it_is_held_against_the_next_best(self) -> None:
        best, next_best = self.wide(1, 0.5, 0.5, value=0.9), self.wide(2, 0.35, 0.2, value=0.8)
        last = self.wide(3, 0.9, 0.9, value=0.7)
        decision = decide([last, best, next_best], default=None)
        assert decision.certainty == pytest.approx((self.SIGMA[1] + self.SIGMA[2]) / 2, abs=1e-5)

    def test_without_a_rival_it_is_whole_and_against_an_equal_one_half(self) -> None:
        assert decide([finalist(1, 0.8)], default=None).certainty == 1
        assert decide([finalist(0, 0.8)], default=0).certainty == 1
        assert decide([finalist(0, 0.8), finalist(1, 0.8)], default=0).certainty == 0.5


@pytest.mark.parametrize("families", [{"texture": 0.9}, {"texture": 0.9, "poisson": 0.7}])
def test_what_was_not_seen_is_said(families: dict[str, float]) -> None:
    assert all(family in certainty_gaps(families)[0] for family in families)


def test_families_that_some_of_the_best_learned_from_are_named() -> None:
    families = {"texture": 0.9, "poisson": 0.7, "sdas": 0.8}
    before = certainty_gaps(families)
    for home, words in (({"texture"}, "texture:"), ({"sdas", "texture", "magic"}, "texture and sdas:")):
        first, told, *rest = certainty_gaps(families, home)
        assert [first, *rest] == before
        assert f"learned from anomalies of {words}" in told
        assert "poisson" not in told


def test_scores_on_home_ground_alone_are_said_to_be_too_high() -> None:
    told = certainty_gaps({"texture": 0.9, "sdas": 0.8}, {"texture", "sdas"})[1]
    assert "no others to compare them on" in told
    assert "did not count" not in told


def test_values_at_home_do_not_decide_which_cells_carry_weight() -> None:
    """Seven learners solve their home cell; the other two differ there all the same."""
    table = np.tile([[1.0, 0.7]], (9, 1))
    table[:7, 1] = np.linspace(0.7, 0.75, 7)
    table[7], table[8] = [0.9, 0.6], [0.6, 0.61]
    home = np.zeros((9, 2), bool)
    home[:7, 0] = True
    modest = table.copy()
    modest[:7, 0] = 0.9
    assert rank_scores(table, home).tolist() == rank_scores(modest, home).tolist()


def test_a_cell_needs_two_candidates_that_are_away() -> None:
    assert informative_cells(np.array([[np.nan, 0.6], [0.9, 0.7], [np.nan, 0.8]])).tolist() == [False, True]


def test_a_family_that_was_learned_from_but_not_drawn_is_no_gap() -> None:
    assert certainty_gaps({"poisson": 0.7}, {"texture"}) == certainty_gaps({"poisson": 0.7})
