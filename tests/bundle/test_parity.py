from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from automl_ad.bundle.parity import Parity, compare, require
from automl_ad.errors import BundleError

SCORES = np.array([1.0, 2.0, 3.0, 6.0])
MAPS = np.arange(16.0, dtype=np.float32).reshape(4, 2, 2)
LABELS = np.array([False, False, True, True])
EQUAL = Parity(4, 0.0, 1.0, 0.0, 0, 0.0, 0, 1.0, 1.0)


def parity(found: Any, threshold: float = 2.5, labels: Any = LABELS, scores: Any = SCORES) -> Parity:
    return compare(scores, MAPS, np.asarray(found, np.float32), MAPS, threshold, labels)


def test_differences_by_hand() -> None:
    found = parity([1.0, 2.75, 3.0, 5.0])
    assert (found.images, found.largest, found.decisions_changed) == (4, 1.0, 1)
    assert found.spread == pytest.approx(3.5**0.5)  # squares of -2, -1, 0 and 3 about the mean of 3
    assert found.relative == pytest.approx(3.5**-0.5)
    assert (found.auroc_torch, found.auroc_onnx, found.map_largest) == (1.0, 1.0, 0.0)


def test_ranks_are_compared() -> None:
    assert parity([1.0, 4.0, 3.0, 6.0]).auroc_onnx == 0.75


def test_maps_are_enlarged_before_they_are_compared() -> None:
    large = np.repeat(np.repeat(MAPS, 2, 1), 2, 2)
    assert compare(SCORES, large, SCORES, large, 0.0, LABELS).map_largest == 0
    small = compare(SCORES, MAPS, SCORES, large, 0.0, LABELS).map_largest
    assert small == pytest.approx(0.25 * 3)  # between two centres, a quarter of the step of 1 across and of 2 down


@pytest.mark.parametrize("labels", [np.zeros(4, bool), np.ones(4, bool)])
def test_images_of_one_kind_have_no_auroc(labels: Any) -> None:
    found = parity(SCORES, labels=labels)
    assert (found.auroc_torch, found.auroc_onnx) == (None, None)
    require(found, "int8")


@pytest.mark.parametrize(
    ("scores", "found", "relative"), [([5, 5], [5, 5.001], 0.2), ([0, 0], [0, 0], 0), ([7], [7], 0)]
)
def test_equal_scores_are_compared_by_their_size(scores: list[float], found: list[float], relative: float) -> None:
    maps = np.zeros((len(scores), 2, 2), np.float32)
    seen = compare(np.array(scores, float), maps, np.array(found, float), maps, 1.0, np.zeros(len(scores), bool))
    assert seen.spread == 0
    assert seen.relative == pytest.approx(relative, rel=1e-3)


def test_the_last_digits_of_a_small_spread_do_not_matter() -> None:
    scores = np.array([100.0, 100.00002, 99.99998])
    maps = np.zeros((3, 2, 2), np.float32)
    assert compare(scores, maps, scores[::-1], maps, 1.0, np.zeros(3, bool)).relative < 1e-3


def test_a_float32_graph_must_say_the_same() -> None:
    require(parity(SCORES), "fp32")
    spread = float(SCORES.std())
    require(parity(SCORES + np.array([0, 0, 0.9e-3 * spread, 0])), "fp32")
    with pytest.raises(BundleError, match=r"by up to 0\.0011 standard deviations, on 1 of 4 images"):
        require(parity(SCORES + np.array([0, 0, 1.1e-3 * spread, 0])), "fp32")
    with pytest.raises(BundleError, match="differs from the detector's on 1 of 4 images"):
        require(replace(EQUAL, decisions_changed=1), "fp32")


@pytest.mark.parametrize(("images", "strays"), [(4, 1), (33, 1), (96, 2), (100, 3)])
def test_where_rounding_can_turn_a_choice_a_few_images_may_differ(images: int, strays: int) -> None:
    few = replace(EQUAL, images=images, relative=0.01, beyond=strays)
    require(few, "fp32", selects_channels=True)
    for refused, selects_channels in ((few, False), (replace(few, beyond=strays + 1), True)):
        with pytest.raises(BundleError, match=r"by up to 0\.01 standard deviations"):
            require(refused, "fp32", selects_channels)
    with pytest.raises(BundleError, match="differs from the detector's on 1 of"):
        require(replace(few, decisions_changed=1), "fp32", selects_channels=True)


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_fewer_bits_must_rank_about_as_well(precision: Any) -> None:
    require(replace(EQUAL, relative=0.8, decisions_changed=3, auroc_onnx=0.951), precision)
    require(replace(EQUAL, auroc_torch=0.7, auroc_onnx=0.9), precision)
    with pytest.raises(BundleError, match=r"image AUROC 0\.940 instead of 1\.000"):
        require(replace(EQUAL, auroc_onnx=0.94), precision)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_must_be_numbers(precision: Any, bad: float) -> None:
    found = parity([1.0, bad, 3.0, 6.0])
    assert found.auroc_onnx is None
    with pytest.raises(BundleError, match="not finite"):
        require(found, precision)
