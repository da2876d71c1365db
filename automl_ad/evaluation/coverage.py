"""Coverage of the suites of a study: families, severities and strengths, and the families left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from automl_ad.evaluation.severity import DetectabilityCurve
from automl_ad.store.artifacts import SourcedRecord

CHANCE, PERFECT = 0.5, 1.0
"""Image AUROC of a random and of a perfect detector."""


@dataclass(frozen=True)
class Cell:
    """One family at one severity.

    Attributes:
        strength: Strength that it is drawn with, above 0 and at most 1.
        auroc: Mean image AUROC of the reference panel at this strength; equals the severity if that can be reached.
    """

    strength: float
    auroc: float


@dataclass(frozen=True)
class Coverage(SourcedRecord):
    """Families and severities in the suites of a study.

    Attributes:
        severities: The requested severities, ascending.
        cells: The cells that are drawn, by family and severity.
        out_of_reach: By drawn family, the severities that no strength reaches on this product.
        left_out: By family left out, the reason as a sentence.
    """

    file: ClassVar[str] = "coverage.json"

    severities: tuple[float, ...]
    cells: Mapping[str, Mapping[float, Cell]]
    out_of_reach: Mapping[str, Sequence[float]]
    left_out: Mapping[str, str]

    @classmethod
    def of(cls, curves: Mapping[str, DetectabilityCurve], severities: Sequence[float]) -> Coverage:
        """Decides which cells are drawn.

        A severity that cannot be reached is merged into the one nearest to the reachable range, so that no two cells of
        a family are the same. A family that is trivial even at its lowest strength is left out, unless all are.
        """
        drawable = {name: curve for name, curve in curves.items() if curve.strengths}
        useful = {name: curve for name, curve in drawable.items() if not _is_trivial(curve, severities)}
        kept = (len(severities) > 1 and useful) or drawable
        return cls(
            severities=tuple(severities),
            cells={name: _cells(curve, severities) for name, curve in kept.items()},
            out_of_reach={name: [s for s in severities if not curve.reaches(s)] for name, curve in kept.items()},
            left_out={name: _reason(name, curve, severities) for name, curve in curves.items() if name not in kept},
        )

    @property
    def strengths(self) -> dict[str, dict[float, float]]:
        """Strength to draw with, by family and severity."""
        return {
            name: {severity: cell.strength for severity, cell in cells.items()} for name, cells in self.cells.items()
        }

    @property
    def warnings(self) -> list[str]:
        """Warnings for the user, in sentences."""
        low, high = _limits(self.severities)
        if any(low <= cell.auroc <= high for cells in self.cells.values() for cell in cells.values()):
            return list(self.left_out.values())
        return [
            *self.left_out.values(),
            "No family reaches the requested severities on these images: for the reference panel all synthetic "
            "anomalies are too hard or too easy to detect, so the ranking is uncertain.",
        ]

    @property
    def facts(self) -> dict[str, Any]:
        """The coverage as JSON values.

        ``families`` are the requested ones; ``drawn`` holds ``strength`` and ``auroc`` by family and severity.
        """
        return {
            "families": [*self.cells, *self.left_out],
            "severities": list(self.severities),
            "drawn": {
                name: {
                    f"{severity:g}": {"strength": cell.strength, "auroc": cell.auroc} for severity, cell in of.items()
                }
                for name, of in self.cells.items()
            },
            "out_of_reach": {name: list(missed) for name, missed in self.out_of_reach.items()},
            "left_out": dict(self.left_out),
        }

    def without(self, family: str, sentence: str) -> Coverage:
        """A copy with another family left out, and the reason."""
        return replace(self, left_out={**self.left_out, family: sentence})

    def _content(self) -> Mapping[str, Any]:
        return self.facts

    @classmethod
    def _of_content(cls, facts: Mapping[str, Any]) -> Coverage:
        cells = {
            name: {
                float(severity): Cell(float(cell["strength"]), float(cell["auroc"])) for severity, cell in of.items()
            }
            for name, of in facts["drawn"].items()
        }
        missed = {name: [float(severity) for severity in of] for name, of in facts["out_of_reach"].items()}
        left_out = {str(name): str(sentence) for name, sentence in facts["left_out"].items()}
        return cls(tuple(float(severity) for severity in facts["severities"]), cells, missed, left_out)


def _limits(severities: Sequence[float]) -> tuple[float, float]:
    """Image AUROC below which anomalies count as undetectable, and above which they count as trivial.

    Half-way from the severities to chance and to 1, a tolerance for the panel's estimates from few images.
    """
    return (CHANCE + severities[0]) / 2, (severities[-1] + PERFECT) / 2


def _is_trivial(curve: DetectabilityCurve, severities: Sequence[float]) -> bool:
    """Whether a family is trivial to detect even at its lowest strength.

    A family that the panel cannot detect at its highest strength is kept: candidates on a network detect more than the
    panel does, and a cell without differences between candidates carries no weight in the ranking.
    """
    return curve.aurocs[0] > _limits(severities)[1]


def _cells(curve: DetectabilityCurve, severities: Sequence[float]) -> dict[float, Cell]:
    """One cell for each severity that is nearest to the reachable AUROC of some requested severity."""
    reached = [curve.nearest(severity) for severity in severities]
    kept = {min(severities, key=lambda severity: abs(severity - auroc)) for auroc in reached}
    return {severity: Cell(curve.strength(severity), curve.nearest(severity)) for severity in sorted(kept)}


def _reason(name: str, curve: DetectabilityCurve, severities: Sequence[float]) -> str:
    if not curve.strengths:
        return f"The family {name} was left out: most attempts to draw it on these images fail."
    return (
        f"The family {name} was left out: even at its lowest strength it is too easy for the reference panel (image "
        f"AUROC {curve.aurocs[0]:.2f}; {severities[0]:g} to {severities[-1]:g} were requested)."
    )
