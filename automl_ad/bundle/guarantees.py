"""Whether the overkill that a threshold promises is what good images show."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from automl_ad.bundle.runtime import Threshold
from automl_ad.evaluation.proportions import chance_by_calibration, chance_of_as_many, exact_interval
from automl_ad.formatting import rate, rate_interval

LEVEL = 0.05
"""A promise counts as broken when chance would explain the overkill more seldom than this."""

_TEST = "exact one-sided binomial test at 5 %"


def promise_figures(
    good: npt.NDArray[np.float64], threshold: Threshold, calibration: npt.NDArray[np.float64]
) -> dict[str, Any]:
    """Compares the overkill on good images with the promise.

    The test takes the promised share for the true one. The promise itself is an average over choices of calibration
    images: where few of them stand behind it, one threshold may lie above its promise by their luck alone. The note
    then says how likely that is.

    Args:
        good: [n], scores of good images, at least one.
        threshold: The decision and its promise.
        calibration: Scores that the threshold was chosen on, at least one.

    Returns:
        ``promised`` (a share), ``promise_kept`` and ``promise_note`` (sentences).
    """
    alarms, of, promised = int((good > threshold.value).sum()), len(good), threshold.overkill
    chance = chance_of_as_many(alarms, of, promised)
    kept = chance >= LEVEL
    fit = "is compatible with" if kept else "is more than chance makes of"
    note = (
        f"{alarms} of {of} good images were called anomalous ({rate(alarms / of)}, 90 % interval "
        f"{rate_interval(exact_interval(alarms, of))}), which {fit} the promise of at most {rate(promised)} "
        f"overkill ({_TEST}: p {_chance(chance)})."
    )
    if not kept:
        rank = 1 + int((calibration > threshold.value).sum())
        note += f" {_reason(chance_by_calibration(alarms, of, rank, len(calibration)), len(calibration))}"
    return {"promised": promised, "promise_kept": kept, "promise_note": note}


def _reason(luck: float, n: int) -> str:
    if luck >= LEVEL:
        return (
            f"Of thresholds that rest on {n} calibration images, {100 * luck:.0f} % would show as much by the luck of "
            "those images: search again with more good images for a steadier one."
        )
    return (
        "These good images differ from those that the search saw: if they are what the line makes, search again with "
        "such images among the good ones."
    )


def _chance(chance: float) -> str:
    return "< 0.001" if chance < 0.001 else f"= {chance:.2g}"
