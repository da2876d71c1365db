"""Calibrates severities, so that they mean the same for every family and on every product.

How hard an anomaly is to detect depends on the product as well as on the strength it is drawn with. A severity is
therefore defined as the mean image AUROC of a small, fixed panel of training-free detectors. The panel's detectors are
never candidates, and candidates do not influence the severities.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

import numpy as np
import numpy.typing as npt
from sklearn.isotonic import IsotonicRegression

from automl_ad.data.image_set import ImageSet
from automl_ad.evaluation.metrics import auroc
from automl_ad.synthesis.base import AnomalyFamily, Context
from automl_ad.synthesis.registry import create_family

Floats = npt.NDArray[np.float64]
Scorer = Callable[[ImageSet], Floats]
"""Image scores of one panel member, higher = more anomalous."""

STRENGTHS = (0.03, 0.07, 0.15, 0.3, 0.6, 1.0)
"""Strengths at which the panel's AUROC is measured."""
MIN_DRAWN = 0.5
"""Share of attempts that must succeed for a strength to be used."""


def ignore_count(count: int) -> None:
    """For drawings that nobody watches."""
    del count


@dataclass(frozen=True)
class Panel:
    """Reference detectors that calibrate severities and are never candidates.

    Attributes:
        scorers: Fitted detectors.
        reference: Per detector, its scores of good images that it was not fitted to.
    """

    scorers: Sequence[Scorer]
    reference: Sequence[Floats]

    @classmethod
    def of(cls, scorers: Sequence[Scorer], normals: ImageSet) -> Panel:
        """Scores the good images with every detector."""
        return cls(scorers, [scorer(normals) for scorer in scorers])

    def detectability(self, images: ImageSet) -> float:
        """Image AUROC of the images against the good ones, mean over the detectors, 0 to 1."""
        return self.detectabilities(images, 1)[0]

    def detectabilities(self, images: ImageSet, groups: int) -> list[float]:
        """``detectability`` of each of ``groups`` equal parts of the images, in order, with one run over all images."""
        table = [
            [auroc(normal, part) for part in np.split(scorer(images), groups)]
            for scorer, normal in zip(self.scorers, self.reference, strict=True)
        ]
        return [float(value) for value in np.mean(table, axis=0)]

    def distance(self, images: ImageSet) -> float:
        """Median score of the images in units of the 95 % quantile of the good images.

        Median over the detectors: a single one that reacts to smoothness alone must not decide.
        """
        ratios = [
            float(np.median(scorer(images))) / max(float(np.quantile(normal, 0.95)), 1e-12)
            for scorer, normal in zip(self.scorers, self.reference, strict=True)
        ]
        return float(np.median(ratios))


@dataclass(frozen=True)
class DetectabilityCurve:
    """Image AUROC of the panel as a function of the strength, for one family on one product.

    Attributes:
        strengths: Those of ``STRENGTHS`` at which the family can be drawn, ascending; empty if it cannot be drawn.
        aurocs: Mean image AUROC of the panel at each strength, non-decreasing.
    """

    strengths: tuple[float, ...]
    aurocs: tuple[float, ...]

    @classmethod
    def of(cls, strengths: Sequence[float], measured: Sequence[float]) -> DetectabilityCurve:
        """Isotonic regression of the measured AUROCs."""
        if not strengths:
            return cls((), ())
        rising = IsotonicRegression().fit_transform(np.log(strengths), np.array(measured))
        return cls(tuple(strengths), tuple(float(value) for value in rising))

    def reaches(self, severity: float) -> bool:
        """Whether some strength has this AUROC."""
        return self.aurocs[0] <= severity <= self.aurocs[-1]

    def nearest(self, severity: float) -> float:
        """The reachable image AUROC that is nearest to a severity."""
        return float(np.clip(severity, self.aurocs[0], self.aurocs[-1]))

    def strength(self, severity: float) -> float:
        """The strength with this AUROC, interpolated; the highest or lowest strength if it cannot be reached."""
        if severity > self.aurocs[-1]:
            return self.strengths[-1]
        above = int(np.argmax(np.array(self.aurocs) >= severity))
        if above == 0:
            return self.strengths[0]
        (low, high), (start, end) = self.aurocs[above - 1 : above + 1], np.log(self.strengths[above - 1 : above + 1])
        return float(np.exp(start + (severity - low) / (high - low) * (end - start)))


def measure_detectability(
    context: Context,
    families: Sequence[str],
    panel: Panel,
    per_strength: int,
    rng: np.random.Generator,
    *,
    strengths: Sequence[float] = STRENGTHS,
    tell: Callable[[int], None] = ignore_count,
) -> dict[str, DetectabilityCurve]:
    """Measures the detectability curve of each family.

    Args:
        context: What families draw with; anomalies are drawn on its normals.
        families: Family names.
        panel: The reference panel.
        per_strength: Number of anomalies per family and strength.
        rng: Source of all randomness.
        strengths: At which it is measured, ascending.
        tell: Called with the number of anomalies just drawn, and of those just scored.
    """
    return {
        name: _curve(create_family(name, context), context, panel, per_strength, strengths, rng, tell)
        for name in families
    }


def _curve(
    family: AnomalyFamily,
    context: Context,
    panel: Panel,
    per_strength: int,
    strengths: Sequence[float],
    rng: np.random.Generator,
    tell: Callable[[int], None],
) -> DetectabilityCurve:
    bases = [context.normals[int(base)] for base in rng.integers(len(context.normals), size=per_strength)]
    family.prepare(bases * len(strengths), [strength for strength in strengths for _ in bases])
    attempts = {strength: _drawn(family, bases, strength, rng, tell) for strength in strengths}
    drawn = {strength: images for strength, images in attempts.items() if len(images) >= MIN_DRAWN * per_strength}
    if not drawn:
        return DetectabilityCurve((), ())
    # The panel takes groups of equal size: where a few attempts failed, other anomalies are repeated.
    images = [image for images in drawn.values() for image in islice(cycle(images), per_strength)]
    curve = DetectabilityCurve.of(list(drawn), panel.detectabilities(ImageSet.from_hwc(images), len(drawn)))
    tell(per_strength * len(strengths))
    return curve


def _drawn(
    family: AnomalyFamily,
    bases: Sequence[npt.NDArray[np.uint8]],
    strength: float,
    rng: np.random.Generator,
    tell: Callable[[int], None],
) -> list[npt.NDArray[np.uint8]]:
    """The anomalies that could be drawn on the bases."""
    pairs = [family.try_draw(base, strength, rng) for base in bases]
    tell(len(bases))
    return [pair[0] for pair in pairs if pair is not None]
