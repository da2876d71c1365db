"""The order of candidates, from what was recorded of them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from automl_ad.search.ranking import ranked
from automl_ad.store.records import CandidateRecord

CELLS = ("texture/0.7", "texture/0.9", "poisson/0.7", "poisson/0.9", "sdas/0.7")


def candidate(
    number: int, values: Sequence[float], home: Sequence[str] | None = None, method: str = "padim"
) -> CandidateRecord:
    """A record; without ``home`` one of the time before methods learned from anomalies."""
    cells = {"cells": dict(zip(CELLS, values, strict=True)), "rules": {"max": 0.5}}
    learned = {} if home is None else {"home": list(home)}
    return CandidateRecord(number=number, state="complete", method=method, cells=cells | learned)


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


def test_equals_keep_the_order_of_their_trials() -> None:
    everywhere = ["texture", "poisson", "sdas"]
    assert order(candidate(5, STEADY, []), candidate(3, STEADY, []), candidate(4, STEADY, [])) == [3, 4, 5]
    assert order(candidate(5, LEARNT, everywhere), candidate(3, WEAK, everywhere)) == [3, 5]


def test_nothing_to_rank() -> None:
    assert ranked([]) == []


@pytest.mark.parametrize("home", [None, ["texture"]])
def test_a_single_candidate_ranks_first(home: list[str] | None) -> None:
    assert [score for _, score in ranked([candidate(0, WEAK, home)])] == [1.0]
