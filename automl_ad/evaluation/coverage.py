"""Which families the suites of a study hold, at which strengths, and what they had to do without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from automl_ad.evaluation.severity import Reach
from automl_ad.store.artifacts import read_record, write_json

RECORD = "coverage.json"
CHANCE, CERTAINTY = 0.5, 1.0
"""Image AUROC of a detector that sees nothing, and of one that sees all."""


@dataclass(frozen=True)
class Cell:
    """One family at one severity.

    Attributes:
        strength: At which it is drawn, above 0 and at most 1.
        auroc: Mean image AUROC that the reference panel reaches at this strength; the severity, if that is in reach.
    """

    strength: float
    auroc: float


@dataclass(frozen=True)
class Coverage:
    """What the suites of a study cover.

    Attributes:
        severities: Those asked for, ascending.
        cells: By family drawn, and by severity, how it is drawn.
        out_of_reach: By family drawn, the severities that it cannot be brought to on this product.
        left_out: By family left out, why, in a sentence.
    """

    severities: tuple[float, ...]
    cells: Mapping[str, Mapping[float, Cell]]
    out_of_reach: Mapping[str, Sequence[float]]
    left_out: Mapping[str, str]

    @classmethod
    def of(cls, reaches: Mapping[str, Reach], severities: Sequence[float]) -> Coverage:
        """Decides what is drawn.

        A severity out of reach falls to the one that is nearest to what can be reached, so that no two cells of a
        family are one and the same. A family that is trivial even at its faintest is left out, unless all are.
        """
        drawable = {name: reach for name, reach in reaches.items() if reach.strengths}
        fitting = {name: reach for name, reach in drawable.items() if _fits(reach, severities)}
        kept = (len(severities) > 1 and fitting) or drawable
        return cls(
            severities=tuple(severities),
            cells={name: _cells(reach, severities) for name, reach in kept.items()},
            out_of_reach={name: [s for s in severities if not reach.covers(s)] for name, reach in kept.items()},
            left_out={name: _reason(name, reach, severities) for name, reach in reaches.items() if name not in kept},
        )

    @property
    def strengths(self) -> dict[str, dict[float, float]]:
        """By family and severity, the strength to draw at."""
        return {
            name: {severity: cell.strength for severity, cell in cells.items()} for name, cells in self.cells.items()
        }

    @property
    def warnings(self) -> list[str]:
        """What the user should know, in sentences."""
        low, high = _limits(self.severities)
        if any(low <= cell.auroc <= high for cells in self.cells.values() for cell in cells.values()):
            return list(self.left_out.values())
        return [
            *self.left_out.values(),
            "No family reaches the severities asked for on these images: to the reference panel all that is drawn is "
            "too faint or too plain, so the ranking is uncertain.",
        ]

    @property
    def facts(self) -> dict[str, Any]:
        """All of it as JSON-able values.

        ``families`` are those asked for; ``drawn`` holds ``strength`` and ``auroc`` by family and severity.
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
        """The same, and that another family was left out, and why."""
        return replace(self, left_out={**self.left_out, family: sentence})

    def save(self, folder: Path, source: str) -> None:
        """Writes it beside the suites; ``source`` is the digest of what these depend on."""
        write_json(folder / RECORD, {"source": source} | self.facts)

    @classmethod
    def load(cls, folder: Path, source: str) -> Coverage | None:
        """Reads what ``save`` wrote; None if there is nothing, or the coverage of other images or settings.

        Raises:
            StoreError: The file is damaged.
        """
        return read_record(folder / RECORD, source, cls._from)

    @classmethod
    def _from(cls, facts: Mapping[str, Any]) -> Coverage:
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
    """Image AUROC below which anomalies count as hopeless, and above which they count as trivial.

    Half-way from the severities to chance and to certainty: the panel judges few images.
    """
    return (CHANCE + severities[0]) / 2, (severities[-1] + CERTAINTY) / 2


def _fits(reach: Reach, severities: Sequence[float]) -> bool:
    """Whether a family is not trivial at its faintest.

    One that is hopeless to the panel at its strongest stays: candidates on a network see more than the panel does, and
    a cell that tells nobody from the others carries no weight anyway.
    """
    return reach.aurocs[0] <= _limits(severities)[1]


def _cells(reach: Reach, severities: Sequence[float]) -> dict[float, Cell]:
    """One cell for each severity that is the nearest one to what can be reached of some severity."""
    reached = [reach.nearest(severity) for severity in severities]
    kept = {min(severities, key=lambda severity: abs(severity - auroc)) for auroc in reached}
    return {severity: Cell(reach.strength(severity), reach.nearest(severity)) for severity in sorted(kept)}


def _reason(name: str, reach: Reach, severities: Sequence[float]) -> str:
    if not reach.strengths:
        return f"The family {name} was left out: most of its drawings come to nothing on these images."
    return (
        f"The family {name} was left out: even at its faintest, the reference panel tells it too plainly from good "
        f"images (image AUROC {reach.aurocs[0]:.2f}; {severities[0]:g} to {severities[-1]:g} were wanted)."
    )
