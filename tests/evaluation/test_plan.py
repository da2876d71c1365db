"""Plans of suites: how they shrink with the time, and what they never fall below."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from automl_ad.errors import StoreError
from automl_ad.evaluation.plan import (
    LEAST_FAMILIES,
    LEAST_LEARNING,
    LEAST_PER_CELL,
    Costs,
    Images,
    SuitePlan,
    choose_plan,
    expected_seconds,
    shrinking_plans,
)

FAMILIES = ("texture", "cutpaste", "poisson", "scratch", "speck", "warp")
FULL = SuitePlan.full(FAMILIES, (0.7, 0.85, 0.95), 8)
COSTS = Costs(draw={name: 0.01 * (place + 1) for place, name in enumerate(FAMILIES)}, panel_pass=0.02, trial_pass=0.03)
IMAGES = Images(train=14, validation=6, holdout=4, side=512.0)
PLANS = list(shrinking_plans(FULL, COSTS, IMAGES))


def test_what_is_expected_adds_up() -> None:
    plan = SuitePlan(("speck",), (0.85,), per_cell=4, strengths=(0.1, 1.0), per_strength=3)
    costs = Costs({"speck": 0.5}, panel_pass=2.0, trial_pass=10.0)
    images = Images(train=3, validation=2, holdout=1, side=256.0)
    # Panel: 5 images at 2.5 passes of 2 s; 6 anomalies drawn at 0.5 s and scored at 5 s. Both suites: 8 anomalies.
    # Trial: 40 passes to fit and 2 for each of 6 images and 8 anomalies, of 10 s.
    assert expected_seconds(plan, costs, images) == pytest.approx(5 * 5 + 6 * 5.5 + 8 * 0.5 + 10 * (40 + 2 * 14))


def test_a_calibration_at_half_the_side_takes_a_quarter_of_the_time() -> None:
    costs, images = Costs({"speck": 0.5}, panel_pass=2.0, trial_pass=0.0), Images(3, 2, 1, side=512.0)
    plan = SuitePlan(("speck",), (0.85,), 4)
    drawing = 2 * 4 * 0.5
    small = SuitePlan(("speck",), (0.85,), 4, side=256)
    assert expected_seconds(small, costs, images) - drawing == pytest.approx(
        (expected_seconds(plan, costs, images) - drawing) / 4
    )


def test_each_plan_is_less_work_than_the_one_before_and_none_too_little() -> None:
    seconds = [expected_seconds(plan, COSTS, IMAGES) for plan in PLANS]
    assert all(more > less for more, less in pairwise(seconds))
    assert PLANS[0] == FULL
    least = PLANS[-1]
    assert (least.per_cell, least.per_strength, least.severities) == (LEAST_PER_CELL, LEAST_PER_CELL, (0.85,))
    assert len(least.families) == LEAST_FAMILIES
    assert "warp" not in least.families  # the slowest goes first
    assert all(set(plan.families) <= set(FAMILIES) for plan in PLANS)


def test_anomalies_go_before_severities_and_these_before_families() -> None:
    counts = [(len(plan.families), len(plan.severities), plan.per_cell) for plan in PLANS]
    assert list(dict.fromkeys(counts)) == [(6, 3, 8), (6, 3, 6), (6, 3, 4), (6, 2, 4), (6, 1, 4), (5, 1, 4), (4, 1, 4)]


@pytest.mark.parametrize(
    ("train", "expected"),
    [(131, [None, 65, LEAST_LEARNING]), (64, [None, LEAST_LEARNING]), (40, [None, LEAST_LEARNING]), (32, [None])],
)
def test_last_of_all_candidates_are_fitted_to_fewer_images(train: int, expected: list[int | None]) -> None:
    images = replace(IMAGES, train=train)
    plans = list(shrinking_plans(FULL, COSTS, images))
    assert list(dict.fromkeys(plan.learning for plan in plans)) == expected
    smallest_suite = replace(PLANS[-1], learning=None)
    assert {replace(plan, learning=None) for plan in plans if plan.learning is not None} <= {smallest_suite}
    seconds = [expected_seconds(plan, COSTS, images) for plan in plans]
    assert all(more > less for more, less in pairwise(seconds))
    last = plans[-1].describe(FULL)
    assert last.endswith(f"candidates fitted to {LEAST_LEARNING} training images") == (len(expected) > 1)


def test_the_more_time_the_larger_the_plan() -> None:
    chosen = [choose_plan(FULL, COSTS, IMAGES, seconds) for seconds in (0.0, 1.0, 5.0, 10.0, 20.0, 60.0, 1e6)]
    places = [PLANS.index(plan) for plan in chosen]
    assert places == sorted(places, reverse=True)
    assert (chosen[0], chosen[-1]) == (PLANS[-1], FULL)
    for plan, seconds in zip(chosen[1:], (1.0, 5.0, 10.0, 20.0, 60.0, 1e6), strict=True):
        assert plan == PLANS[-1] or expected_seconds(plan, COSTS, IMAGES) <= seconds


def test_at_a_small_working_size_severities_are_calibrated_at_that_size() -> None:
    assert {plan.side for plan in shrinking_plans(FULL, COSTS, replace(IMAGES, side=256.0))} == {None}
    assert {plan.side for plan in PLANS[1:]} == {256}


def test_a_request_that_is_small_already_is_not_enlarged() -> None:
    tiny = SuitePlan.full(("speck", "warp"), (0.85,), 4)
    costs = Costs({"speck": 1.0, "warp": 2.0}, 1.0, 1.0)
    plans = list(shrinking_plans(tiny, costs, replace(IMAGES, side=64.0)))
    assert {plan.families for plan in plans} == {("speck", "warp")}
    assert {(plan.per_cell, plan.severities) for plan in plans} == {(4, (0.85,))}


def test_a_plan_is_kept_for_its_source_alone(tmp_path: Path) -> None:
    for plan in shrinking_plans(FULL, COSTS, replace(IMAGES, train=131)):
        plan.save(tmp_path, "these images")
        assert SuitePlan.load(tmp_path, "these images") == plan
    assert SuitePlan.load(tmp_path, "others") is None
    (tmp_path / SuitePlan.file).write_text('{"source": "these images", "families": 3}')
    with pytest.raises(StoreError, match="damaged"):
        SuitePlan.load(tmp_path, "these images")


def test_what_a_plan_lacks_is_told() -> None:
    assert PLANS[-1].describe(FULL) == (
        "4 instead of 8 anomalies of each family and severity; 0.85 instead of 3 severities; no speck, warp; "
        "severities calibrated by 12 anomalies of each family at the working size 256"
    )
    assert FULL.describe(FULL) == ""
