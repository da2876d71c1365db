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

CELLS = {0.7: Cell(0.1, 0.7), 0.95: Cell(0.4, 0.95)}


def coverage(**changes: Any) -> dict[str, Any]:
    known: dict[str, Any] = {"severities": (0.7, 0.95), "cells": {"texture": CELLS, "speck": CELLS}}
    return Coverage(**(known | {"out_of_reach": {}, "left_out": {}} | changes)).facts


def test_a_winning_average_names_its_trials() -> None:
    members = [{"trial": n, "method": "padim", "settings": {"backbone": f"net{n}"}} for n in (3, 5)]
    said = ensemble_message({"params": {"side": 64, "members": members}})
    assert said == "It is the average of trials 3 (padim on net3) and 5 (padim on net5), as one detector."
    assert ensemble_message({"params": {"side": 64}}) is None


@pytest.mark.parametrize("answer", [{}, {"certainty": None, "certified": [0, 1]}, {"certainty": 1.0, "certified": [0]}])
def test_without_a_rival_nothing_is_said_of_certainty(answer: dict[str, Any]) -> None:
    assert certainty_message(answer) is None


@pytest.mark.parametrize(
    ("winner", "certified", "rival"),
    [(4, [0, 4], "the default"), (0, [0, 4], "the best of the others"), (4, [4, 7], "the best of the others")],
)
def test_certainty_is_a_probability_against_a_rival(winner: int, certified: list[int], rival: str) -> None:
    answer = {"certainty": 0.618, "certified": certified, "default_trial": 0, "winner": {"trial": winner}}
    said = certainty_message(answer)
    assert said is not None
    assert f"with a probability of 62 % it is as good as {rival} on real defects" in said


def test_full_coverage_needs_no_words() -> None:
    assert coverage_messages(None) == coverage_messages(coverage()) == []


def test_families_left_out_and_severities_out_of_reach_are_named() -> None:
    facts = coverage(
        cells={"texture": CELLS, "speck": {0.7: Cell(1.0, 0.6)}, "missing": {0.95: Cell(0.03, 0.9)}},
        left_out={"warp": "The family warp was left out: it cannot be drawn."},
    )
    assert coverage_messages(facts) == [
        "Drawn were 3 of the 4 families asked for, not warp (see the warnings).",
        "Not every severity is in reach on these images: drawn are speck at 0.7; missing at 0.95.",
    ]
    assert merged_severities_messages(facts) == coverage_messages(facts)[1:]
