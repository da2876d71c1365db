"""Calibrates severities, so that they mean the same for every family and on every product.

The strength at which a family draws says little: what is glaring on a light-guide plate drowns in the crumbs of a
cookie. A severity is therefore defined by what a small, frozen panel of training-free detectors makes of it: the image
AUROC that the panel reaches on average. The panel never competes, and candidates have no say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from sklearn.isotonic import IsotonicRegression

from automl_ad.data.image_set import ImageSet
from automl_ad.evaluation.metrics import image_auroc
from automl_ad.synthesis.base import AnomalyFamily, Context
from automl_ad.synthesis.registry import create_family

Floats = npt.NDArray[np.float64]
Scorer = Callable[[ImageSet], Floats]
"""Image scores of one panel member, higher = more anomalous."""

LADDER = (0.03, 0.07, 0.15, 0.3, 0.6, 1.0)
"""Strengths at which the panel is asked."""


def calibrated_strengths(
    context: Context,
    normals: ImageSet,
    families: Sequence[str],
    severities: Sequence[float],
    panel: Sequence[Scorer],
    per_rung: int,
    rng: np.random.Generator,
) -> dict[str, dict[float, float]]:
    """Finds the strengths at which each family reaches the severities.

    Args:
        context: What families draw upon; anomalies are drawn on its normals.
        normals: Good images that the panel did not see.
        families: Family names.
        severities: Mean image AUROC wanted of the panel, ascending.
        panel: Fitted detectors.
        per_rung: Anomalies a family and rung of the ladder.
        rng: Source of all randomness.

    Returns:
        By family and severity, a strength of the ladder's range: its strongest where a severity is out of reach, its
        faintest where even that is more visible than the severity asks for.
    """
    reference = [scorer(normals) for scorer in panel]
    found = {}
    for name in families:
        reached = _ladder(create_family(name, context), context, reference, panel, per_rung, rng)
        found[name] = {severity: interpolated(reached, severity) for severity in severities}
    return found


def _ladder(
    family: AnomalyFamily,
    context: Context,
    reference: Sequence[Floats],
    panel: Sequence[Scorer],
    per_rung: int,
    rng: np.random.Generator,
) -> Floats:
    """The panel's mean image AUROC at every rung of ``LADDER``."""
    bases = [int(base) for base in rng.integers(len(context.normals), size=per_rung)]
    images = [family.draw(context.normals[base], rung, rng)[0] for rung in LADDER for base in bases]
    anomalies = ImageSet.of(np.stack(images).transpose(0, 3, 1, 2))
    labels = [np.r_[np.zeros(len(scores)), np.ones(per_rung)] for scores in reference]
    table = []
    for scorer, normal, marks in zip(panel, reference, labels, strict=True):
        rungs = scorer(anomalies).reshape(len(LADDER), per_rung)
        table.append([image_auroc(np.r_[normal, rung], marks) for rung in rungs])
    reached: Floats = np.mean(table, axis=0)
    return reached


def interpolated(reached: Floats, wanted: float) -> float:
    """The strength at which a rising curve through the ladder reaches ``wanted``.

    The last rung if it never does, the first if it starts above.
    """
    logs = np.log(LADDER)
    curve = IsotonicRegression().fit_transform(logs, reached)
    if curve[-1] < wanted:
        return LADDER[-1]
    above = int(np.argmax(curve >= wanted))
    if above == 0:
        return LADDER[0]
    share = (wanted - curve[above - 1]) / (curve[above] - curve[above - 1])
    return float(np.exp(logs[above - 1] + share * (logs[above] - logs[above - 1])))
