"""Whether the observed overkill (false positive rate) is compatible with the guarantee of a threshold."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from automl_ad.bundle.runtime import Threshold
from automl_ad.evaluation.proportions import chance_by_calibration, chance_of_as_many, exact_interval
from automl_ad.formatting import rate, rate_interval

LEVEL = 0.05
"""Significance level of the test against the guarantee."""

_TEST = "exact one-sided binomial test at 5 %"


def check_guarantee(
    good: npt.NDArray[np.float64], threshold: Threshold, calibration: npt.NDArray[np.float64]
) -> dict[str, Any]:
    """Tests the overkill on good images against the guarantee.

    The null hypothesis is that the true false positive rate equals the guaranteed one. The guarantee is marginal, an
    average over draws of the calibration images: with few of them, a single threshold may exceed it by chance. If the
    test rejects, the note says how likely that is.

    Args:
        good: [n], scores of good images, at least one.
        threshold: The decision threshold and its guarantee.
        calibration: [m], scores that the threshold was computed from, at least one.

    Returns:
        ``promised`` (the guaranteed false positive rate), ``promise_kept`` (whether the test does not reject) and
        ``promise_note`` (sentences).
    """
    alarms, of, guaranteed = int((good > threshold.value).sum()), len(good), threshold.overkill
    chance = chance_of_as_many(alarms, of, guaranteed)
    kept = chance >= LEVEL
    verdict = "compatible with" if kept else "significantly above"
    note = (
        f"{alarms} of {of} good images were rejected: overkill (false positive rate) {rate(alarms / of)}, 90 % "
        f"interval {rate_interval(exact_interval(alarms, of))}, {verdict} the guarantee of at most {rate(guaranteed)} "
        f"({_TEST}: p {_chance(chance)})."
    )
    if not kept:
        rank = 1 + int((calibration > threshold.value).sum())
        note += f" {_explanation(chance_by_calibration(alarms, of, rank, len(calibration)), len(calibration))}"
    return {"promised": guaranteed, "promise_kept": kept, "promise_note": note}


def _explanation(chance: float, n: int) -> str:
    if chance >= LEVEL:
        return (
            f"The guarantee is marginal: {100 * chance:.0f} % of thresholds from {n} calibration images would show as "
            "many false positives by chance; search again with more good images for a tighter threshold."
        )
    return (
        "This indicates a distribution shift between these good images and those of the search: if they are typical of "
        "the line, search again with such images among the good ones."
    )


def _chance(chance: float) -> str:
    return "< 0.001" if chance < 0.001 else f"= {chance:.2g}"
