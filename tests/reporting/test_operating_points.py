from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from automl_ad import Study
from automl_ad.bundle.runtime import overkill_threshold, p_values
from automl_ad.errors import StudyError
from automl_ad.evaluation.proportions import exact_interval
from automl_ad.reporting.operating_points import OperatingPoints, Share
from automl_ad.store.artifacts import load_arrays


def points(
    normals: list[float], anomalies: list[float], cells: list[str], home: tuple[str, ...] = ()
) -> OperatingPoints:
    """Operating points of scores made by hand."""
    made = OperatingPoints.__new__(OperatingPoints)
    made.number, made.cells, made.learned_from = 0, cells, frozenset(home)
    made.normals, made.anomalies = np.array(normals, np.float64), np.array(anomalies, np.float64)
    return made


CELLS = ["texture/0.7", "texture/0.7", "texture/0.95", "poisson/0.7"]


def test_counts_by_hand() -> None:
    point = points([1, 2, 3, 4], [2, 5, 3, 3.5], CELLS).at(3)
    assert (point.overkill.count, point.overkill.of, point.overkill.value) == (1, 4, 0.25)
    assert point.guaranteed == 2 / 5
    assert {cell: (share.count, share.of) for cell, share in point.cells.items()} == {
        "texture/0.7": (1, 2),
        "texture/0.95": (1, 1),  # at the threshold is not above it
        "poisson/0.7": (0, 1),
    }
    assert {name: (share.count, share.of) for name, share in point.families.items()} == {
        "texture": (2, 3),
        "poisson": (0, 1),
    }
    assert (point.total.count, point.total.of) == (2, 4)
    assert point.overkill.interval == exact_interval(1, 4)


def test_a_family_that_was_learned_from_is_marked_and_does_not_count() -> None:
    point = points([1, 2], [0, 0, 0, 5], CELLS, ("texture",)).at(3)
    assert [share.in_family for share in point.cells.values()] == [True, True, False]
    assert point.families["texture"].in_family
    assert not point.total.in_family
    assert (point.total.count, point.total.of) == (0, 1)
    everywhere = points([1, 2], [0, 0, 0, 5], CELLS, ("texture", "poisson")).at(3)
    assert (everywhere.total.count, everywhere.total.of) == (3, 4)


def test_a_guarantee_says_what_so_many_normals_support() -> None:
    made = points(list(range(19)), [30.0], ["texture/0.7"])
    assert made.smallest_overkill == 1 / 20
    kept, refused = made.threshold_for(0.1), made.threshold_for(0.01)
    assert (kept.supported, made.at(kept.value).guaranteed) == (True, 0.1)
    assert (refused.supported, refused.overkill) == (False, 0.05)
    assert "99 images are needed" in refused.message


scores = st.lists(st.integers(0, 20).map(float), min_size=1, max_size=30)


@given(scores, scores, st.floats(0.01, 0.99))
def test_a_guaranteed_threshold_is_kept_on_the_normals_themselves(
    normals: list[float], anomalies: list[float], wanted: float
) -> None:
    made = points(normals, anomalies, ["texture/0.7"] * len(anomalies))
    threshold = made.threshold_for(wanted)
    assert threshold == overkill_threshold(normals, wanted)
    point = made.at(threshold.value)
    assert point.guaranteed <= threshold.overkill + 1e-12
    missed = int((p_values(anomalies, normals) > threshold.overkill).sum())
    assert point.total.count == missed  # the slider and the p-values of the pictures tell the same


@given(scores, scores, st.integers(1, 50))
def test_every_score_lies_in_one_bin(normals: list[float], anomalies: list[float], bins: int) -> None:
    made = points(normals, anomalies, [f"{'ab'[place % 2]}/0.7" for place in range(len(anomalies))])
    histogram = made.histogram(bins)
    low, high = made.range
    assert low < high
    assert (histogram.edges[0], histogram.edges[-1], len(histogram.edges)) == (low, high, bins + 1)
    assert (histogram.normals.sum(), histogram.anomalies.sum()) == (len(normals), len(anomalies))
    np.testing.assert_array_equal(sum(histogram.families.values()), histogram.anomalies)
    assert made.at(high).overkill.count == 0


def test_shares_tell_their_interval() -> None:
    share = Share.counted(np.array([True, False, False]))
    low, high = share.interval
    assert low < share.value < high


def test_a_real_trial(study: Study, numbers: list[int]) -> None:
    made = OperatingPoints(study, numbers[0])
    kept = load_arrays(study.folder.trial(numbers[0]) / "scores.npz")
    rule = study.show(numbers[0]).rule
    np.testing.assert_array_equal(made.normals, kept[f"normal/{rule}"])
    np.testing.assert_array_equal(made.anomalies, kept[f"anomaly/{rule}"])
    assert set(made.at(0.0).cells) == set(study.show(numbers[0]).cells)
    with pytest.raises(StudyError):
        OperatingPoints(study, 999)
