"""Calibrates severities, so that they mean the same for every family and on every product.

The strength at which a family draws says little: what is glaring on a light-guide plate drowns in the crumbs of a
cookie. A severity is therefore defined by what a small, frozen panel of training-free detectors makes of it: the image
AUROC that the panel reaches on average. The panel never competes, and candidates have no say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

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
LEAST_DRAWN = 0.5
"""Share of its drawings that must come off for a family to count as drawn at a strength."""


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


@dataclass(frozen=True)
class Reach:
    """How visible a family can be made on a product.

    Attributes:
        strengths: Rungs of ``LADDER`` at which the family can be drawn, ascending; none if it cannot be drawn.
        aurocs: Mean image AUROC of the panel at each of them, never falling.
    """

    strengths: tuple[float, ...]
    aurocs: tuple[float, ...]

    @classmethod
    def of(cls, strengths: Sequence[float], measured: Sequence[float]) -> Reach:
        """Smooths the dips that chance left in what was measured."""
        if not strengths:
            return cls((), ())
        rising = IsotonicRegression().fit_transform(np.log(strengths), np.array(measured))
        return cls(tuple(strengths), tuple(float(value) for value in rising))

    def covers(self, severity: float) -> bool:
        """Whether some strength makes the family as visible as that."""
        return self.aurocs[0] <= severity <= self.aurocs[-1]

    def nearest(self, severity: float) -> float:
        """The image AUROC that comes nearest to a severity."""
        return float(np.clip(severity, self.aurocs[0], self.aurocs[-1]))

    def strength(self, severity: float) -> float:
        """The strength that brings the panel to a severity: the strongest or faintest rung if it is out of reach."""
        if severity > self.aurocs[-1]:
            return self.strengths[-1]
        above = int(np.argmax(np.array(self.aurocs) >= severity))
        if above == 0:
            return self.strengths[0]
        (low, high), (start, end) = self.aurocs[above - 1 : above + 1], np.log(self.strengths[above - 1 : above + 1])
        return float(np.exp(start + (severity - low) / (high - low) * (end - start)))


def measured_reach(
    context: Context, families: Sequence[str], panel: Panel, per_rung: int, rng: np.random.Generator
) -> dict[str, Reach]:
    """Finds how visible each family can be made.

    Args:
        context: What families draw upon; anomalies are drawn on its normals.
        families: Family names.
        panel: What judges.
        per_rung: Anomalies a family and rung of the ladder.
        rng: Source of all randomness.
    """
    return {name: _reach(create_family(name, context), context, panel, per_rung, rng) for name in families}


def _reach(family: AnomalyFamily, context: Context, panel: Panel, per_rung: int, rng: np.random.Generator) -> Reach:
    bases = [context.normals[int(base)] for base in rng.integers(len(context.normals), size=per_rung)]
    family.expect(bases * len(LADDER), [rung for rung in LADDER for _ in bases])
    rungs = {rung: _rung(family, bases, rung, rng) for rung in LADDER}
    drawn = {rung: images for rung, images in rungs.items() if len(images) >= LEAST_DRAWN * per_rung}
    if not drawn:
        return Reach((), ())
    # The panel takes groups of one size: where a few drawings failed, others stand for them.
    images = [image for images in drawn.values() for image in islice(cycle(images), per_rung)]
    return Reach.of(list(drawn), panel.detectabilities(ImageSet.of_pictures(images), len(drawn)))


def _rung(
    family: AnomalyFamily, bases: Sequence[npt.NDArray[np.uint8]], strength: float, rng: np.random.Generator
) -> list[npt.NDArray[np.uint8]]:
    """What came of drawing on each base."""
    drawn = [family.try_draw(base, strength, rng) for base in bases]
    return [pair[0] for pair in drawn if pair is not None]
