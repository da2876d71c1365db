"""The images of a proxy suite, one at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from automl_ad.evaluation.cells import cell_family
from automl_ad.evaluation.coverage import Coverage
from automl_ad.evaluation.suite import NORMALS
from automl_ad.reporting.stored_rows import StoredRows
from automl_ad.store.artifacts import StudyFolder, read_json

Kind = Literal["normal", "anomaly"]
Picture = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


def cell_severity(cell: str) -> float:
    """The severity of a cell name such as ``texture/0.85``."""
    return float(cell.split("/")[1])


@dataclass(frozen=True)
class SuiteImages:
    """A study's proxy suite as files, of which only what is asked for is read.

    Attributes:
        folder: Where the suite lies.
        normals: Number of normals.
        cells: Family and severity of each anomaly.
        bases: For each anomaly, the position among the normals of the image that it was drawn on.
        key: Names the content: equal keys mean equal images.
        coverage: Which families were asked for, and what became of each; None if nobody kept it.
    """

    folder: Path
    normals: int
    cells: tuple[str, ...]
    bases: tuple[int, ...]
    key: str
    coverage: Coverage | None = None

    @classmethod
    def open(cls, study: StudyFolder) -> SuiteImages:
        """Reads what the suite says of itself.

        Raises:
            StoreError: The suite has not been drawn yet, or what it says of itself is damaged.
        """
        folder = study.suite / "proxy"
        content: Mapping[str, Any] = read_json(folder / "suite.json")
        key = f"{content['digest']}/{content['source']}"
        coverage = Coverage.load(study.suite, content["source"])
        return cls(folder, int(content["normals"]), tuple(content["cells"]), tuple(content["bases"]), key, coverage)

    @property
    def families(self) -> tuple[str, ...]:
        """The families, in the order drawn."""
        return tuple(dict.fromkeys(cell_family(cell) for cell in self.cells))

    def picture(self, kind: Kind, index: int) -> Picture:
        """One image, uint8 [H, W, 3] RGB at the study's largest working size.

        Raises:
            IndexError: There is no such image.
            StoreError: The file is missing or damaged.
        """
        rows = self._normal_rows if kind == "normal" else self._anomaly_rows
        return np.ascontiguousarray(rows.row(index).transpose(1, 2, 0))

    def mask(self, index: int) -> Mask:
        """Where an anomaly was drawn, bool [H, W].

        Raises:
            IndexError: There is no such anomaly.
            StoreError: The file is missing or damaged.
        """
        if not 0 <= index < len(self.cells):
            raise IndexError(f"{self.folder} holds {len(self.cells)} anomalies, none at {index}")
        height, width = self._anomaly_rows.shape[2:]
        return self._mask_bits.bits(index * height * width, height * width).reshape(height, width)

    @cached_property
    def mask_shares(self) -> tuple[float, ...]:
        """For each anomaly, the share of its pixels that was drawn over, 0 to 1."""
        return tuple(float(self.mask(index).mean()) for index in range(len(self.cells)))

    @cached_property
    def _anomaly_rows(self) -> StoredRows:
        return StoredRows.open(self.folder / "suite.npz", "images")

    @cached_property
    def _mask_bits(self) -> StoredRows:
        return StoredRows.open(self.folder / "suite.npz", "masks")

    @cached_property
    def _normal_rows(self) -> StoredRows:
        return StoredRows.open(self.folder / NORMALS, "images")
