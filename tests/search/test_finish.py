"""The second look at the best few: what counts when some of them learned from anomalies."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from automl_ad.data.image_set import ImageSet
from automl_ad.evaluation.suite import Suite
from automl_ad.search.candidate import SuiteScores
from automl_ad.search.finish import certify, families_learned, finalist_of
from automl_ad.search.trial import plan_for
from automl_ad.store.artifacts import StudyFolder
from automl_ad.store.records import CandidateRecord

CELLS = ("texture/0.7",) * 4 + ("poisson/0.7",) * 4
SCORES = SuiteScores(
    {"max": np.array([1.0, 2.0, 3.0, 4.0]), "top1%": np.arange(4.0)},
    {"max": np.array([9.0, 9, 9, 9, 2.5, 9, 2.5, 9]), "top1%": np.zeros(8)},
)
"""Under rule max, textures reach 1 and poisson 0.75."""


def record(number: int = 3, **fields: Any) -> CandidateRecord:
    params = {"side": 32, "levels": [-1], "backbone": "embedded"}
    known: dict[str, Any] = {"method": "padim", "params": params, "rule": "max", "latency_ms": 12.0}
    return CandidateRecord(number=number, state="complete", **(known | fields))


@pytest.fixture
def bench(tmp_path: Path) -> Any:
    """As much of a bench as the scores of a candidate need that was certified before: it can fit nothing."""
    images = ImageSet.of(np.zeros((8, 3, 32, 32), np.uint8))
    suite = Suite(images, np.ones((8, 32, 32), np.bool_), CELLS, (0, 1, 2, 3) * 2, "0123456789abcdef-and-more")
    normals = SimpleNamespace(splits=SimpleNamespace(certify=(0, 1, 2, 3)))
    material = SimpleNamespace(certify=suite, normals=normals, at=lambda side: SimpleNamespace(certify=suite))
    return SimpleNamespace(material=material, seed=5, folder=StudyFolder(tmp_path, "parts"))


@pytest.mark.parametrize(
    ("home", "value"),
    [(frozenset(), 0.875), ({"texture"}, 0.75), ({"poisson"}, 1.0), ({"sdas"}, 0.875), ({"texture", "poisson"}, 0.875)],
)
def test_families_learned_from_count_neither_in_the_value_nor_in_its_draws(bench: Any, home: Any, value: float) -> None:
    finalist, cells = finalist_of(bench, record(), SCORES, home)
    assert (finalist.number, finalist.value, finalist.latency_ms) == (3, pytest.approx(value), 12.0)
    assert cells == {"texture/0.7": 1.0, "poisson/0.7": 0.75}
    suite = bench.material.certify
    counted = [cell for cell in cells if cell.split("/")[0] not in home] or list(cells)
    plan = plan_for(suite, 4, 5, "certify")
    np.testing.assert_array_equal(finalist.draws, SCORES.draws(suite, "max", plan, counted))
    assert np.mean(finalist.draws) == pytest.approx(value, abs=0.03)


def test_finalists_are_compared_on_one_ground(bench: Any) -> None:
    """Their draws are paired: who scores alike has the same draws, whoever of them learned from a family."""
    one, other = (
        finalist_of(bench, record(number, cells={"home": learned}), SCORES, {"texture"})[0]
        for number, learned in enumerate((["texture"], []))
    )
    np.testing.assert_array_equal(one.draws, other.draws)


def test_a_candidate_certified_before_is_judged_anew_but_not_fitted_again(bench: Any) -> None:
    """Later finalists may have learned from other families."""
    SCORES.save(bench.folder.trial(3) / "certify_0123456789abcdef.npz")
    values = [certify(bench, record(), home)[0].value for home in ((), {"texture"}, {"poisson"})]
    assert values == pytest.approx([0.875, 0.75, 1.0])


def test_what_some_learned_from_is_what_any_of_them_did() -> None:
    texture, both = record(cells={"home": ["texture"]}), record(cells={"home": ["sdas", "texture"]})
    assert families_learned([record(), texture]) == {"texture"}
    assert families_learned([both, record(cells={"home": ["cutpaste"]})]) == {"texture", "sdas", "cutpaste"}
    assert families_learned([record(), record(cells={"home": []})]) == frozenset()
    assert families_learned([]) == frozenset()
