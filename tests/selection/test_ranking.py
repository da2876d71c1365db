"""Robust rank aggregation, and the ranking of a study's candidates."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from automl_ad.selection.ranking import informative_cells, rank_scores, ranked, usable
from automl_ad.store.records import CandidateRecord
from automl_ad.study.settings import StudySettings, requested_settings
from automl_ad.tuned import TRIM

Table = npt.NDArray[np.float64]


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


def in_family(shape: tuple[int, int], *places: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """True at (candidate, cell) of each place."""
    home = np.zeros(shape, bool)
    for place in places:
        home[place] = True
    return home


class TestHome:
    """Cells of families that a candidate learned from."""

    def test_nobody_at_home_changes_nothing(self) -> None:
        table = np.random.default_rng(0).uniform(0.3, 0.99, (4, 7))
        np.testing.assert_array_equal(rank_scores(table, in_family(table.shape)), rank_scores(table))

    def test_perfect_at_home_and_worst_elsewhere_is_last(self) -> None:
        table = np.array([[0.9, 0.9, 0.5, 0.5, 0.5], [0.8, 0.7, 0.6, 0.7, 0.6], [0.7, 0.8, 0.7, 0.6, 0.7]])
        assert rank_scores(table)[0] == pytest.approx(1 / 3)  # 1, 1, 0, 0, 0 with a fifth trimmed at either end
        scores = rank_scores(table, in_family(table.shape, (0, 0), (0, 1)))
        # Both others beat it in the last three cells, which is what the first two are then taken to say.
        # Shares of the second candidate: 1, 0.5, 0.5, 1, 0.5; of the third: 0.5, 1, 1, 0.5, 1.
        assert scores.tolist() == pytest.approx([0.0, 2 / 3, 5 / 6])

    def test_by_hand_where_neither_wins_everywhere(self) -> None:
        table = np.array([[0.9, 0.9, 0.7, 0.8], [0.8, 0.6, 0.8, 0.7], [0.7, 0.7, 0.6, 0.6]])
        scores = rank_scores(table, in_family(table.shape, (0, 0), (0, 1)))
        # Four cells are too few to trim. Away, the first beats the second in one cell of two and the third in both.
        # Where it is at home, the second counts as half beaten by it and the third as beaten.
        assert scores.tolist() == pytest.approx([0.75, (0.75 + 0.25 + 1 + 0.5) / 4, (0 + 0.5 + 0 + 0) / 4])

    def test_how_one_fares_at_home_is_nothing_to_the_others(self) -> None:
        away = [[0.8, 0.6, 0.7, 0.8, 0.5], [0.7, 0.7, 0.6, 0.9, 0.6], [0.6, 0.8, 0.5, 0.7, 0.7]]
        places = in_family((4, 5), (3, 0), (3, 1))
        ranked = [
            rank_scores(np.array([*away, [value, value, 0.55, 0.85, 0.65]]), places).tolist()
            for value in (0.3, 0.65, 0.99)
        ]
        assert ranked[0] == ranked[1] == ranked[2]

    def test_two_without_any_ground_in_common_tie(self) -> None:
        table = np.array([[0.9, 0.9, 0.3], [0.4, 0.5, 0.9]])
        assert rank_scores(table, in_family(table.shape, (0, 0), (0, 1), (1, 2))).tolist() == [0.5, 0.5]

    def test_one_without_any_ground_of_its_own_is_in_the_middle(self) -> None:
        table = np.array([[0.9, 0.9], [0.8, 0.8], [0.7, 0.7]])
        # The other two beat, or not, each other, and are even with the first.
        assert rank_scores(table, in_family(table.shape, (0, 0), (0, 1))).tolist() == [0.5, 0.75, 0.25]

    def test_everybody_at_home_everywhere_leaves_nothing_to_tell(self) -> None:
        table = np.array([[0.9, 0.9], [0.8, 0.8], [0.7, 0.7]])
        assert rank_scores(table, np.ones_like(table, bool)).tolist() == [0.5, 0.5, 0.5]

    def test_a_single_candidate_ranks_first_even_there(self) -> None:
        assert rank_scores(np.array([[0.6, 0.7]]), np.ones((1, 2), bool)).tolist() == [1.0]

    def test_a_home_among_cells_that_tell_nothing_is_passed_over_with_them(self) -> None:
        table = np.array([[1.0, 0.7, 0.8], [1.0, 0.8, 0.8], [0.999, 0.6, 0.8], [0.998, 0.9, 0.8]])
        home = in_family(table.shape, (0, 0), (1, 2))
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
    for row, (values, in_family) in enumerate(zip(table, home, strict=True)):
        others = np.arange(len(table)) != row
        wins = (np.sign(values - table[others]) + 1) / 2
        away = ~(home[others] | in_family)
        usual = np.where(away, wins, 0).sum(1) / np.maximum(away.sum(1), 1)
        usual[~away.any(1)] = 0.5
        shares = np.where(away, wins, usual[:, None]).mean(0)
        scores[row] = stats.trim_mean(shares if in_family.all() else shares[~in_family], TRIM)
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


CELLS = ("texture/0.7", "texture/0.9", "poisson/0.7", "poisson/0.9", "sdas/0.7")


def candidate(
    number: int,
    values: Sequence[float],
    home: Sequence[str] | None = None,
    method: str = "padim",
    located: Sequence[float] | None = None,
) -> CandidateRecord:
    """A record; without ``home`` and ``located`` one of the time before either was kept."""
    return CandidateRecord(
        number=number,
        state="complete",
        method=method,
        image_auroc=dict(zip(CELLS, values, strict=True)),
        localisation_auroc={} if located is None else dict(zip(CELLS, located, strict=True)),
        aggregations={"max": 0.5},
        learned_from=frozenset(home or ()),
    )


def order(*records: CandidateRecord) -> list[int]:
    return [record.number for record, _ in ranked(records)]


LEARNT = [0.9, 0.9, 0.6, 0.6, 0.6]
STEADY = [0.7, 0.7, 0.7, 0.7, 0.7]
WEAK = [0.6, 0.6, 0.5, 0.5, 0.5]


def test_nobody_has_a_home_in_records_that_do_not_tell_of_any() -> None:
    assert candidate(0, STEADY).learned_from == frozenset()
    assert candidate(0, STEADY, []).learned_from == frozenset()
    assert candidate(0, STEADY, ["sdas", "texture"]).learned_from == {"sdas", "texture"}
    old, new = ([candidate(0, STEADY, home), candidate(1, LEARNT, home)] for home in (None, []))
    assert [score for _, score in ranked(old)] == [score for _, score in ranked(new)]


def test_a_family_that_was_learned_from_does_not_rank_who_did() -> None:
    one, two = candidate(0, LEARNT, ["texture"]), candidate(1, WEAK, [])
    assert order(candidate(2, STEADY, []), one, two) == [2, 0, 1]
    scores = {record.number: score for record, score in ranked([one, two, candidate(2, STEADY, [])])}
    assert scores == {0: 0.5, 1: 0.0, 2: 1.0}


def test_what_is_home_is_told_by_the_record_and_not_by_the_method() -> None:
    """One method may learn from textures in one trial and from pictures of sdas in another."""
    texture, sdas = (candidate(n, LEARNT, [home], "realnet") for n, home in enumerate(("texture", "sdas")))
    steady = candidate(2, STEADY, [])
    assert order(texture, steady) == [2, 0]
    assert order(sdas, candidate(2, [0.7, 0.7, 0.5, 0.5, 0.9], [])) == [1, 2]


def test_a_family_that_the_suite_lacks_is_nobody_s_home() -> None:
    """Pieces of the product are learned from, but not drawn in this suite."""
    learned, plain = ([candidate(0, LEARNT, home), candidate(1, STEADY, [])] for home in (["cutpaste"], []))
    assert [score for _, score in ranked(learned)] == [score for _, score in ranked(plain)]


def test_an_advantage_is_taken_off_before_candidates_are_ranked() -> None:
    """In image AUROC it is 0.05 ahead and in located AUROC 0.15."""
    steady = candidate(0, STEADY, [], located=STEADY)
    for advantage, wanted in ((0.0, [1.0, 0.0]), (0.1, [0.5, 0.5]), (0.2, [0.0, 1.0])):
        plain = candidate(1, [value + 0.05 for value in STEADY], [], located=[value + 0.15 for value in STEADY])
        taken = replace(plain, advantage=advantage)
        scores = {record.number: score for record, score in ranked([steady, taken])}
        assert [scores[1], scores[0]] == wanted
        assert taken.advantage == advantage


def test_a_cell_that_all_have_solved_says_nothing_of_those_with_an_advantage_either() -> None:
    """All but one cell are solved by all; in that one, candidate 1 is the best even with less."""
    rows = [[1.0] * 4 + [value] for value in (0.6, 0.9, 0.5)]
    records = [candidate(number, row, [], located=row) for number, row in enumerate(rows)]
    records[1] = replace(records[1], advantage=0.2)
    assert [(record.number, score) for record, score in ranked(records)] == [(1, 1.0), (0, 0.5), (2, 0.0)]


def test_equals_keep_the_order_of_their_trials() -> None:
    everywhere = ["texture", "poisson", "sdas"]
    assert order(candidate(5, STEADY, []), candidate(3, STEADY, []), candidate(4, STEADY, [])) == [3, 4, 5]
    assert order(candidate(5, LEARNT, everywhere), candidate(3, WEAK, everywhere)) == [3, 5]


def test_nothing_to_rank() -> None:
    assert ranked([]) == []


@pytest.mark.parametrize("home", [None, ["texture"]])
def test_a_single_record_ranks_first(home: list[str] | None) -> None:
    assert [score for _, score in ranked([candidate(0, WEAK, home)])] == [1.0]


class TestLevels:
    """Every cell ranks twice: by image AUROC and by located AUROC."""

    def test_both_levels_count_alike(self) -> None:
        one, two = candidate(0, STEADY, located=WEAK), candidate(1, WEAK, located=STEADY)
        assert [score for _, score in ranked([one, two])] == [0.5, 0.5]
        # Ten cells, two trimmed at either end: of 1, 1, 1, 0, 0, 0, 0, 0, 0, 0 one of six is left.
        ahead = candidate(0, [0.9, 0.9, 0.9, 0.6, 0.6], located=WEAK)
        behind = candidate(1, STEADY, located=STEADY)
        assert {r.number: s for r, s in ranked([ahead, behind])} == pytest.approx({0: 1 / 6, 1: 5 / 6})

    def test_who_is_better_on_the_anomalies_themselves_is_ahead_of_equals(self) -> None:
        one, two = candidate(0, STEADY, located=WEAK), candidate(1, STEADY, located=LEARNT)
        assert order(one, two) == [1, 0]

    def test_where_one_record_lacks_a_level_all_are_ranked_by_the_other_alone(self) -> None:
        old, new = candidate(0, STEADY), candidate(1, WEAK, located=[1.0] * 5)
        assert order(new, old) == [0, 1]
        alone = [candidate(0, STEADY), candidate(1, WEAK)]
        assert [score for _, score in ranked([old, new])] == [score for _, score in ranked(alone)]

    def test_a_home_is_a_home_at_both_levels(self) -> None:
        learned = candidate(0, LEARNT, ["texture"], located=LEARNT)
        assert order(learned, candidate(1, STEADY, [], located=STEADY)) == [1, 0]
        elsewhere = candidate(0, [0.5, 0.5, 0.8, 0.8, 0.8], ["texture"], located=[1.0, 1.0, 0.6, 0.6, 0.6])
        scores = {r.number: s for r, s in ranked([elsewhere, candidate(1, STEADY, [], located=STEADY)])}
        # Away it wins three times as an image and loses three times on the anomaly.
        assert scores[0] == pytest.approx(0.5)


class TestUsable:
    @pytest.fixture
    def settings(self, parts: Path) -> StudySettings:
        return requested_settings(parts, max_latency_ms=20.0)

    def test_only_complete_ones_within_the_limits(self, settings: StudySettings) -> None:
        quick, slow = (replace(candidate(n, STEADY), latency_ms=ms) for n, ms in enumerate((20.0, 20.1)))
        failed = replace(candidate(2, STEADY), state="failed")
        assert usable([quick, slow, failed], settings) == [quick]

    def test_averages_only_if_they_are_wanted(self, settings: StudySettings) -> None:
        plain, average = candidate(0, STEADY), candidate(1, STEADY, method="average")
        assert usable([plain, average], settings) == [plain, average]
        without = settings.model_copy(update={"ensemble": False})
        assert usable([plain, average], without) == [plain]
