"""What an answer says of itself, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from automl_ad.evaluation.coverage import Cell, Coverage
from automl_ad.reporting.messages import (
    certainty_message,
    coverage_messages,
    ensemble_message,
    merged_severities_messages,
)
from automl_ad.results import CoverageResult, SearchOutcome, WinnerResult

CELLS = {0.7: Cell(0.1, 0.7), 0.95: Cell(0.4, 0.95)}


def coverage(**changes: Any) -> CoverageResult:
    known: dict[str, Any] = {"severities": (0.7, 0.95), "cells": {"texture": CELLS, "speck": CELLS}}
    return CoverageResult.model_validate(Coverage(**(known | {"out_of_reach": {}, "left_out": {}} | changes)).facts)


def winner(number: int = 4, **params: Any) -> WinnerResult:
    return WinnerResult(trial=number, method="padim", params=params)


def outcome(**facts: Any) -> SearchOutcome:
    known: dict[str, Any] = {"study": "bolts", "storage": "sqlite:///x.db", "images": 40, "trials": {"complete": 3}}
    known |= {"proxy": {"suite": "abc", "families": ["texture"]}, "winner": winner()}
    return SearchOutcome.model_validate(known | facts)


def test_a_winning_average_names_its_trials() -> None:
    members = [{"trial": n, "method": "padim", "settings": {"backbone": f"net{n}"}} for n in (3, 5)]
    said = ensemble_message(winner(side=64, members=members))
    assert said == "It is an ensemble of trials 3 (padim on net3) and 5 (padim on net5), exported as one detector."
    assert ensemble_message(winner(side=64)) is None


@pytest.mark.parametrize("facts", [{}, {"certainty": None, "certified": [0, 1]}, {"certainty": 1.0, "certified": [0]}])
def test_without_a_rival_nothing_is_said_of_certainty(facts: dict[str, Any]) -> None:
    assert certainty_message(outcome(**facts)) is None


@pytest.mark.parametrize(
    ("number", "certified", "rival"),
    [(4, [0, 4], "the baseline"), (0, [0, 4], "the best other candidate"), (4, [4, 7], "the best other candidate")],
)
def test_certainty_is_a_probability_against_a_rival(number: int, certified: list[int], rival: str) -> None:
    said = certainty_message(outcome(certainty=0.618, certified=certified, default_trial=0, winner=winner(number)))
    assert said is not None
    assert f"Probability that it is at least as good as {rival} on real defects: 62 %, estimated " in said


def test_full_coverage_needs_no_words() -> None:
    assert coverage_messages(None) == coverage_messages(coverage()) == []


def test_families_left_out_and_severities_out_of_reach_are_named() -> None:
    facts = coverage(
        cells={"texture": CELLS, "speck": {0.7: Cell(1.0, 0.6)}, "missing": {0.95: Cell(0.03, 0.9)}},
        left_out={"warp": "The family warp was left out: it cannot be drawn."},
    )
    assert coverage_messages(facts) == [
        "3 of the 4 requested families were drawn, not warp (see the warnings).",
        "Not every severity is in reach on these images; drawn are speck at 0.7; missing at 0.95.",
    ]
    assert merged_severities_messages(facts) == coverage_messages(facts)[1:]
