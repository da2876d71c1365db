"""Planning of suites from measured times."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from automl_ad.backbones.embedded import EmbeddedBackbone
from automl_ad.backbones.extractor import FeatureExtractor
from automl_ad.data.study_images import StudyImages, read_study_images
from automl_ad.evaluation.plan import Costs, SuitePlan
from automl_ad.study import planning
from automl_ad.study.planning import Planner, measured_costs
from automl_ad.study.settings import requested_settings
from automl_ad.synthesis.base import Context
from automl_ad.synthesis.speck import SpeckFamily

FAMILIES = ("texture", "cutpaste", "poisson", "speck", "warp")
FULL = SuitePlan.full(FAMILIES, (0.7, 0.95), 8)


@pytest.fixture(scope="module")
def normals(parts: Path) -> StudyImages:
    return read_study_images(requested_settings(parts, image_size=64))


@pytest.fixture(scope="module")
def baseline() -> FeatureExtractor:
    return FeatureExtractor(EmbeddedBackbone())


def context(normals: StudyImages) -> Context:
    return Context(normals.part("validation").hwc)


def test_a_slow_family_is_noticed(
    normals: StudyImages, baseline: FeatureExtractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = SpeckFamily.attempt

    def slow(*arguments: object) -> object:
        time.sleep(0.05)
        return draw(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(SpeckFamily, "attempt", slow)
    costs = measured_costs(("speck", "cutpaste"), normals, context(normals), baseline)
    assert 0.05 <= costs.draw["speck"] < 1
    assert 0 < costs.draw["cutpaste"] < 1
    assert 0 < costs.panel_pass < 1
    assert 0 < costs.trial_pass < 1


def test_measuring_draws_no_random_number_of_the_study(normals: StudyImages, baseline: FeatureExtractor) -> None:
    images = context(normals)
    before = images.normals.copy()
    measured_costs(FAMILIES, normals, images, baseline)
    np.testing.assert_array_equal(images.normals, before)


@pytest.fixture
def fixed_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    costs = Costs(dict.fromkeys(FAMILIES, 0.1), panel_pass=0.1, trial_pass=0.1)
    monkeypatch.setattr(planning, "measured_costs", lambda *_: costs)


@pytest.mark.usefixtures("fixed_costs")
def test_the_plan_follows_what_is_left(normals: StudyImages, baseline: FeatureExtractor) -> None:
    found = [
        Planner(lambda left=left: left, baseline).plan(FULL, normals, context(normals))  # type: ignore[misc]
        for left in (1e5, 200.0, 90.0, 1.0, -5.0)
    ]
    sizes = [len(plan.families) * (plan.calibrating + 2 * plan.per_family) for plan, _ in found]
    assert sizes == sorted(sizes, reverse=True)
    assert found[0] == (FULL, None)
    assert found[-1][0] == found[-2][0]
    warning = found[-1][1]
    assert warning is not None
    assert "0 s of it are left; give a longer --time-budget or a smaller --image-size." in warning
