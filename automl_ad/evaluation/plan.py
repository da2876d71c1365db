"""How much is drawn for the suites of a study: all that was asked for, or less where the time is short."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from automl_ad.evaluation.severity import STRENGTHS
from automl_ad.store.artifacts import SourcedRecord

LEAST_PER_CELL = 4
"""Anomalies of a family and severity below which an AUROC says nothing."""
LEAST_LEARNING = 32
"""Training images that are never left out: with fewer, the spread of good parts is hardly known."""
LEAST_FAMILIES = 4
"""Families below which one kind of defect would decide the ranking."""
FEW_STRENGTHS = (STRENGTHS[0], STRENGTHS[2], STRENGTHS[-1])
"""Strengths that still span a curve: a straight line in the logarithm of the strength joins them."""
CALIBRATION_SIDE = 256
"""Side of the square that has the area of the working size at which a short calibration takes place, in pixels."""
_PANEL_PASS, _TRIAL_PASS, _TRIAL_FIT = 2.5, 2.0, 40.0
"""Time of the panel for an image, of a trial for an image, and of a trial's fit, in passes of an image through the
backbone."""


@dataclass(frozen=True)
class SuitePlan(SourcedRecord):
    """What is drawn; the content of a suite depends on it and on the settings alone, not on how it was decided.

    Attributes:
        families: Families of synthetic anomalies, in the order drawn.
        severities: Ascending.
        per_cell: Anomalies of one family and severity, at least 1.
        strengths: At which severities are calibrated, ascending.
        per_strength: Anomalies of one family and strength, at least 1.
        side: Of the square that has the area of the size at which severities are calibrated; None for the working size.
        learning: Training images that candidates are fitted to, at least 1; None for all.
    """

    file: ClassVar[str] = "plan.json"

    families: tuple[str, ...]
    severities: tuple[float, ...]
    per_cell: int
    strengths: tuple[float, ...] = STRENGTHS
    per_strength: int = LEAST_PER_CELL
    side: int | None = None
    learning: int | None = None

    @classmethod
    def full(cls, families: Sequence[str], severities: Sequence[float], per_cell: int) -> SuitePlan:
        """All that was asked for."""
        return cls(tuple(families), tuple(severities), per_cell, STRENGTHS, per_cell)

    @property
    def per_family(self) -> int:
        """Anomalies of each family in one suite."""
        return self.per_cell * len(self.severities)

    @property
    def calibrating(self) -> int:
        """Anomalies of each family that calibrate its severities."""
        return self.per_strength * len(self.strengths)

    def without(self, family: str) -> SuitePlan:
        """A copy with one family fewer."""
        return replace(self, families=tuple(name for name in self.families if name != family))

    def describe(self, full: SuitePlan) -> str:
        """What it lacks of another plan, as a phrase."""
        parts = []
        if self.per_cell < full.per_cell:
            parts.append(f"{self.per_cell} instead of {full.per_cell} anomalies of each family and severity")
        if len(self.severities) < len(full.severities):
            parts.append(f"{_listed(self.severities)} instead of {len(full.severities)} severities")
        lost = [name for name in full.families if name not in self.families]
        if lost:
            parts.append(f"no {', '.join(lost)}")
        if self.calibrating < full.calibrating or self.side is not None:
            where = "" if self.side is None else f" at the working size {self.side}"
            parts.append(f"severities calibrated by {self.calibrating} anomalies of each family{where}")
        if self.learning is not None:
            parts.append(f"candidates fitted to {self.learning} training images")
        return "; ".join(parts)

    def _content(self) -> Mapping[str, Any]:
        return {
            "families": list(self.families),
            "severities": list(self.severities),
            "per_cell": self.per_cell,
            "strengths": list(self.strengths),
            "per_strength": self.per_strength,
            "side": self.side,
            "learning": self.learning,
        }

    @classmethod
    def _of_content(cls, content: Mapping[str, Any]) -> SuitePlan:
        side, learning = content["side"], content.get("learning")  # which earlier versions did not know
        return cls(
            tuple(str(name) for name in content["families"]),
            tuple(float(severity) for severity in content["severities"]),
            int(content["per_cell"]),
            tuple(float(strength) for strength in content["strengths"]),
            int(content["per_strength"]),
            None if side is None else int(side),
            None if learning is None else int(learning),
        )


@dataclass(frozen=True)
class Costs:
    """What was measured at the working size before anything is drawn, in seconds.

    Attributes:
        draw: For one anomaly, by family.
        panel_pass: For one image in the backbone of the reference panel.
        trial_pass: For one image in the backbone of the baseline.
    """

    draw: Mapping[str, float]
    panel_pass: float
    trial_pass: float


@dataclass(frozen=True)
class Images:
    """The images that a plan has to do with.

    Attributes:
        train, validation, holdout: How many there are.
        side: Of the square that has the area of the working size, in pixels.
    """

    train: int
    validation: int
    holdout: int
    side: float


def expected_seconds(plan: SuitePlan, costs: Costs, images: Images) -> float:
    """Time for severities, both suites, and the baseline's trial and hold-out check."""
    draw = sum(costs.draw[name] for name in plan.families)
    area = 1.0 if plan.side is None else (plan.side / images.side) ** 2
    panel = _PANEL_PASS * costs.panel_pass
    anomalies = len(plan.families) * plan.per_family
    calibration = panel * (images.train + images.validation) + plan.calibrating * (draw + panel * len(plan.families))
    drawing = 2 * plan.per_family * draw
    seen = (plan.learning or images.train) + images.validation + images.holdout + 2 * anomalies
    scoring = costs.trial_pass * (_TRIAL_FIT + _TRIAL_PASS * seen)
    return area * calibration + drawing + scoring


def choose_plan(full: SuitePlan, costs: Costs, images: Images, seconds: float) -> SuitePlan:
    """The largest plan for which the time suffices; the smallest where it suffices for none.

    Args:
        full: All that was asked for.
        costs: Measured on this machine.
        images: Of the study.
        seconds: Time for all that `expected_seconds` counts.
    """
    plan = full
    for plan in shrinking_plans(full, costs, images):
        if expected_seconds(plan, costs, images) <= seconds:
            break
    return plan


def shrinking_plans(full: SuitePlan, costs: Costs, images: Images) -> Iterator[SuitePlan]:
    """The full plan, then smaller ones, each less work than the one before.

    First the calibration shrinks, which ranks nobody; then cells hold fewer anomalies; then severities go, as each
    family keeps its hardest and its easiest, at last its middle one; then families, the slowest first; and last the
    images that candidates are fitted to, which makes the candidates themselves worse.
    """
    plan = full
    yield plan
    if images.side > CALIBRATION_SIDE:
        plan = replace(plan, side=CALIBRATION_SIDE)
        yield plan
    plan = replace(plan, strengths=FEW_STRENGTHS)
    yield plan
    for share in (3 / 4, 1 / 2, 0.0):
        count = min(full.per_cell, max(LEAST_PER_CELL, math.ceil(share * full.per_cell)))
        if count < plan.per_cell:
            plan = replace(plan, per_cell=count, per_strength=count)
            yield plan
    for severities in _fewer(full.severities):
        plan = replace(plan, severities=severities)
        yield plan
    for name in sorted(full.families, key=lambda name: -costs.draw[name])[: -LEAST_FAMILIES or None]:
        plan = plan.without(name)
        yield plan
    for count in (images.train // 2, LEAST_LEARNING):
        if LEAST_LEARNING <= count < (plan.learning or images.train):
            plan = replace(plan, learning=count)
            yield plan


def _fewer(severities: tuple[float, ...]) -> Iterator[tuple[float, ...]]:
    if len(severities) > 2:
        yield (severities[0], severities[-1])
    if len(severities) > 1:
        yield (severities[len(severities) // 2],)


def _listed(severities: Sequence[float]) -> str:
    return " and ".join(f"{severity:g}" for severity in severities)
