"""Calibrates severities, so that they mean the same for every family and on every product.

The strength at which a family draws says little: what is glaring on a light-guide plate drowns in the crumbs of a
cookie. A severity is therefore defined by what a small, frozen panel of training-free detectors makes of it: the image
AUROC that the panel reaches on average. The panel never competes, and candidates have no say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Panel:
    """Detectors that judge synthetic anomalies and never compete.

    Attributes:
        scorers: Fitted detectors.
        reference: Of each detector, the scores of good images that it did not see.
    """

    scorers: Sequence[Scorer]
    reference: Sequence[Floats]

    @classmethod
    def of(cls, scorers: Sequence[Scorer], normals: ImageSet) -> Panel:
        """Scores the good images once."""
        return cls(scorers, [scorer(normals) for scorer in scorers])

    def detectability(self, images: ImageSet) -> float:
        """Image AUROC of the images against the good ones, mean over the detectors, 0 to 1."""
        return self.detectabilities(images, 1)[0]

    def detectabilities(self, images: ImageSet, groups: int) -> list[float]:
        """``detectability`` of each of ``groups`` equal parts of the set, in order, with one run over all of it."""
        table = [
            [_auroc(normal, part) for part in np.split(scorer(images), groups)]
            for scorer, normal in zip(self.scorers, self.reference, strict=True)
        ]
        return [float(value) for value in np.mean(table, axis=0)]

    def distance(self, images: ImageSet) -> float:
        """Median distance of the images to what the detectors know, 1 where 95 % of the good images lie nearer.

        The median over the detectors: one that takes offence at mere smoothness must not decide.
        """
        ratios = [
            float(np.median(scorer(images))) / max(float(np.quantile(normal, 0.95)), 1e-12)
            for scorer, normal in zip(self.scorers, self.reference, strict=True)
        ]
        return float(np.median(ratios))


def _auroc(normal: Floats, anomalous: Floats) -> float:
    return image_auroc(np.r_[normal, anomalous], np.r_[np.zeros(len(normal)), np.ones(len(anomalous))])


def calibrated_strengths(
    context: Context,
    families: Sequence[str],
    severities: Sequence[float],
    panel: Panel,
    per_rung: int,
    rng: np.random.Generator,
) -> dict[str, dict[float, float]]:
    """Finds the strengths at which each family reaches the severities.

    Args:
        context: What families draw upon; anomalies are drawn on its normals.
        families: Family names.
        severities: Mean image AUROC wanted of the panel, ascending.
        panel: What judges.
        per_rung: Anomalies a family and rung of the ladder.
        rng: Source of all randomness.

    Returns:
        By family and severity, a strength of the ladder's range: its strongest where a severity is out of reach, its
        faintest where even that is more visible than the severity asks for.
    """
    found = {}
    for name in families:
        reached = _ladder(create_family(name, context), context, panel, per_rung, rng)
        found[name] = {severity: interpolated(reached, severity) for severity in severities}
    return found


def _ladder(family: AnomalyFamily, context: Context, panel: Panel, per_rung: int, rng: np.random.Generator) -> Floats:
    """The panel's mean image AUROC at every rung of ``LADDER``."""
    bases = [context.normals[int(base)] for base in rng.integers(len(context.normals), size=per_rung)]
    family.expect(bases * len(LADDER), [rung for rung in LADDER for _ in bases])
    images = [family.draw(base, rung, rng)[0] for rung in LADDER for base in bases]
    return np.array(panel.detectabilities(ImageSet.of_pictures(images), len(LADDER)))


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
