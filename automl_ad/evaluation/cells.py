"""Cells of a suite (family and severity): which anomaly belongs to which cell, without the images."""

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
        bases: For each anomaly, the index of the normal that it was drawn on.
    """

    cells: tuple[str, ...]
    bases: tuple[int, ...]

    @property
    def cell_names(self) -> tuple[str, ...]:
        """The distinct cells, in the order drawn."""
        return tuple(dict.fromkeys(self.cells))

    def members(self, cell: str) -> npt.NDArray[np.int64]:
        """Indices of a cell's anomalies, int64 [m]."""
        return np.flatnonzero(np.array(self.cells) == cell)


@dataclass(frozen=True)
class Cells(Celled):
    """Anomalies divided into cells, without their images; see `Celled`."""

    cells: tuple[str, ...]
    bases: tuple[int, ...]


def joined(parts: Sequence[Celled], names: Sequence[str], normals: Sequence[int]) -> Cells:
    """Concatenates the anomalies of several suites; the cells of each suite stay distinct.

    Args:
        parts: The suites.
        names: Name of each suite, appended to its cells' names, such as ``texture/0.85/certify``.
        normals: Number of normals of each suite; the bases index the concatenated normals.
    """
    cells = [f"{cell}/{name}" for part, name in zip(parts, names, strict=True) for cell in part.cells]
    before = np.cumsum([0, *normals])
    bases = [int(base + start) for part, start in zip(parts, before, strict=False) for base in part.bases]
    return Cells(tuple(cells), tuple(bases))


def family_weights(cells: Sequence[str]) -> npt.NDArray[np.float64]:
    """Weight of each cell in a mean over families, whatever the number of cells of a family; float64 [cells], sum 1.

    Args:
        cells: Names of cells, at least one.
    """
    families = [cell_family(cell) for cell in cells]
    counts = Counter(families)
    return np.array([1 / (counts[family] * len(counts)) for family in families])
