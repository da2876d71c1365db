from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from automl_ad.selection.lead_model import FILTER_LEADS, NETWORK_LEADS, expected_gains, expected_gains_of
from automl_ad.selection.ranking import is_baseline
from automl_ad.store.records import CandidateRecord
from automl_ad.tuned import RANK_RANGE

NOBODY = np.nan
SINGLE, ENSEMBLE = NETWORK_LEADS


def test_finalists_are_expected_to_gain_what_their_leads_were_worth() -> None:
    leads = np.array([0.0, 0.1, 0.1])
    gains, spreads = expected_gains(np.ones(3), leads, np.array([False, False, True]), 0, NETWORK_LEADS)
    assert gains.tolist() == pytest.approx(
        [
            0,
            SINGLE.start + 0.1 * SINGLE.share,
            ENSEMBLE.start + 0.1 * ENSEMBLE.share,
        ]
    )
    assert spreads.tolist() == [ENSEMBLE.spread, SINGLE.spread, ENSEMBLE.spread]


def test_others_are_expected_behind_the_default_by_what_they_rank_behind_it() -> None:
    ranks, leads = np.array([0.6, 0.9, 0.6, 0.1]), np.array([0.0, NOBODY, NOBODY, NOBODY])
    gains, spreads = expected_gains(ranks, leads, np.zeros(4, bool), 0, NETWORK_LEADS)
    start = SINGLE.start  # a higher rank alone is no lead in the final check
    assert gains.tolist() == pytest.approx([0, start, start, start - 0.5 * RANK_RANGE])
    assert spreads.tolist() == [ENSEMBLE.spread, *[SINGLE.spread] * 3]


def test_without_a_default_ranks_alone_tell() -> None:
    gains, spreads = expected_gains(np.array([0.9, 0.4]), np.full(2, NOBODY), np.zeros(2, bool), None, NETWORK_LEADS)
    assert gains[0] - gains[1] == pytest.approx(0.5 * RANK_RANGE)
    assert (spreads > 0).all()


def record(number: int, value: float | None, members: tuple[int, ...] = ()) -> CandidateRecord:
    return CandidateRecord(
        number=number,
        state="complete",
        method="average" if members else "padim",
        backbone="resnet18",
        params={"members": [{"trial": member} for member in members]} if members else PADIM,
        holdout_score=value,
    )


PADIM: dict[str, Any] = {"side": 64, "backbone": "resnet18", "levels": [-3]}


@pytest.mark.parametrize(
    ("number", "method", "params", "expected"),
    [
        (0, "padim", PADIM, True),
        (1, "padim", PADIM, False),
        (0, "dfr", PADIM | {"model": "pca"}, True),
        (0, "dfr", PADIM | {"model": "autoencoder"}, False),
        (0, "realnet", PADIM, False),
        (0, "anoseg", {"side": 64, "backbone": "none", "levels": []}, False),
    ],
)
def test_the_first_trial_is_the_baseline_if_it_trains_nothing(
    number: int, method: str, params: dict[str, Any], expected: bool
) -> None:
    made = replace(record(number, 0.8), method=method, params=params)
    assert is_baseline(made) == expected
    gains, _ = expected_gains_of([(made, 0.9), (record(7, 0.9), 0.8)])
    assert (gains[0] == 0) == expected  # leads count only over a baseline


def test_of_a_study_leads_are_those_over_trial_0() -> None:
    ranking = [(record(5, 0.8, (0, 3)), 0.9), (record(3, 0.9), 0.8), (record(0, 0.7), 0.7), (record(4, None), 0.2)]
    gains, _ = expected_gains_of(ranking)
    assert gains.tolist() == pytest.approx(
        [
            ENSEMBLE.start + 0.1 * ENSEMBLE.share,
            SINGLE.start + 0.2 * SINGLE.share,
            0,
            SINGLE.start - 0.5 * RANK_RANGE,
        ]
    )


def test_an_average_without_the_default_is_a_candidate_of_its_own() -> None:
    gains, _ = expected_gains_of([(record(5, 0.8, (1, 3)), 0.9), (record(0, 0.7), 0.7)])
    assert gains[0] == pytest.approx(SINGLE.start + 0.1 * SINGLE.share)


def test_before_the_final_check_nobody_leads() -> None:
    gains, _ = expected_gains_of([(record(5, None), 0.9), (record(0, None), 0.7)])
    assert gains.tolist() == pytest.approx([SINGLE.start, 0])


def test_leads_are_worth_what_they_are_beside_such_a_default() -> None:
    ranking = [(replace(record(5, 0.9), backbone="embedded"), 0.9), (replace(record(0, 0.5), backbone="embedded"), 0.7)]
    gains, _ = expected_gains_of(ranking)
    assert gains.tolist() == [FILTER_LEADS.single.start, 0]
