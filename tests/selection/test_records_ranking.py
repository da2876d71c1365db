"""The order of candidates, from what was recorded of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from automl_ad.selection.records_ranking import ranked, usable
from automl_ad.store.records import CandidateRecord
from automl_ad.study.settings import StudySettings, build_settings

CELLS = ("texture/0.7", "texture/0.9", "poisson/0.7", "poisson/0.9", "sdas/0.7")


def candidate(
    number: int,
    values: Sequence[float],
    home: Sequence[str] | None = None,
    method: str = "padim",
    located: Sequence[float] | None = None,
) -> CandidateRecord:
    """A record; without ``home`` and ``located`` one of the time before either was kept."""
    cells: dict[str, object] = {"cells": dict(zip(CELLS, values, strict=True)), "rules": {"max": 0.5}}
    cells |= {} if home is None else {"home": list(home)}
    cells |= {} if located is None else {"located": dict(zip(CELLS, located, strict=True))}
    return CandidateRecord(number=number, state="complete", method=method, cells=cells)


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
        taken = replace(plain, cells={**plain.cells, "advantage": advantage})
        scores = {record.number: score for record, score in ranked([steady, taken])}
        assert [scores[1], scores[0]] == wanted
        assert taken.advantage == advantage


def test_a_cell_that_all_have_solved_says_nothing_of_those_with_an_advantage_either() -> None:
    """All but one cell are solved by all; in that one, candidate 1 is the best even with less."""
    rows = [[1.0] * 4 + [value] for value in (0.6, 0.9, 0.5)]
    records = [candidate(number, row, [], located=row) for number, row in enumerate(rows)]
    records[1] = replace(records[1], cells={**records[1].cells, "advantage": 0.2})
    assert [(record.number, score) for record, score in ranked(records)] == [(1, 1.0), (0, 0.5), (2, 0.0)]


def test_equals_keep_the_order_of_their_trials() -> None:
    everywhere = ["texture", "poisson", "sdas"]
    assert order(candidate(5, STEADY, []), candidate(3, STEADY, []), candidate(4, STEADY, [])) == [3, 4, 5]
    assert order(candidate(5, LEARNT, everywhere), candidate(3, WEAK, everywhere)) == [3, 5]


def test_nothing_to_rank() -> None:
    assert ranked([]) == []


@pytest.mark.parametrize("home", [None, ["texture"]])
def test_a_single_candidate_ranks_first(home: list[str] | None) -> None:
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
        return build_settings(parts, max_latency_ms=20.0)

    def test_only_complete_ones_within_the_limits(self, settings: StudySettings) -> None:
        quick, slow = (replace(candidate(n, STEADY), latency_ms=ms) for n, ms in enumerate((20.0, 20.1)))
        failed = replace(candidate(2, STEADY), state="failed")
        assert usable([quick, slow, failed], settings) == [quick]

    def test_averages_only_if_they_are_wanted(self, settings: StudySettings) -> None:
        plain, average = candidate(0, STEADY), candidate(1, STEADY, method="average")
        assert usable([plain, average], settings) == [plain, average]
        without = settings.model_copy(update={"average": False})
        assert usable([plain, average], without) == [plain]
