"""Which anomaly belongs to which cell, apart from the pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


def cell_family(cell: str) -> str:
    """The family of a cell name."""
    return cell.split("/")[0]


class Celled:
    """Anomalies divided into cells.

    Attributes:
        cells: For each anomaly, its family and severity, such as ``texture/0.85``.
        bases: For each anomaly, the position among the normals of the image it was drawn on.
    """

    cells: tuple[str, ...]
    bases: tuple[int, ...]

    @property
    def cell_names(self) -> tuple[str, ...]:
        """The cells, in the order drawn."""
        return tuple(dict.fromkeys(self.cells))

    def members(self, cell: str) -> npt.NDArray[np.int64]:
        """Positions of a cell's anomalies."""
        return np.flatnonzero(np.array(self.cells) == cell)


@dataclass(frozen=True)
class Cells(Celled):
    """Anomalies divided into cells, without their pictures; see `Celled`."""

    cells: tuple[str, ...]
    bases: tuple[int, ...]


def joined(parts: Sequence[Celled], names: Sequence[str], normals: Sequence[int]) -> Cells:
    """The anomalies of several suites one after the other, each suite with cells of its own.

    Args:
        parts: The suites.
        names: Of the suites; each becomes the end of its cells' names, such as ``texture/0.85/certify``.
        normals: Of each suite, how many; the bases then count through the normals of all.
    """
    cells = [f"{cell}/{name}" for part, name in zip(parts, names, strict=True) for cell in part.cells]
    before = np.cumsum([0, *normals])
    bases = [int(base + start) for part, start in zip(parts, before, strict=False) for base in part.bases]
    return Cells(tuple(cells), tuple(bases))


def family_weights(cells: Sequence[str]) -> npt.NDArray[np.float64]:
    """How much each cell counts in a mean over families, however many cells a family has; float64 [cells], sum 1.

    Args:
        cells: Names of cells, at least one.
    """
    families = [cell_family(cell) for cell in cells]
    counts = Counter(families)
    return np.array([1 / (counts[family] * len(counts)) for family in families])
