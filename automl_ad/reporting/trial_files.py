"""What a finished trial left on disk: its scores by the rule that counts, its maps, and the range to colour them by."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from automl_ad.errors import StoreError, StudyError
from automl_ad.reporting.stored_rows import StoredRows
from automl_ad.reporting.suite_images import Kind, SuiteImages
from automl_ad.store.artifacts import read_json, write_json
from automl_ad.store.records import CandidateRecord
from automl_ad.study.study import Study

Scores = npt.NDArray[np.float64]
Map = npt.NDArray[np.float32]
_QUANTILES = (0.5, 0.999)
"""Of the normals' map values: cold and hot, the same as a bundle keeps for its heatmaps."""


def complete_trials(study: Study, numbers: Sequence[int]) -> list[CandidateRecord]:
    """The records of trials that have finished, in the order given.

    Raises:
        StudyError: One does not exist, is not complete, or is named twice.
    """
    if len(set(numbers)) < len(numbers):
        raise StudyError(f"Trials {', '.join(map(str, numbers))} name one twice; name different ones.")
    records = [study.repository.candidate(study.name, number) for number in numbers]
    for record in records:
        if record.state != "complete":
            raise StudyError(f"Trial {record.number} of study {study.name} is {record.state}; choose a complete one.")
    return records


@dataclass(frozen=True)
class TrialFiles:
    """The files of one complete trial, read as far as they are asked for.

    Attributes:
        record: The trial.
        folder: Where its files lie.
        cache: Folder for what is worked out once.
        normals: Scores of the proxy suite's normals by the trial's rule, float64 [n].
        anomalies: Those of its anomalies, float64 [M], in the order of the suite.
    """

    record: CandidateRecord
    folder: Path
    cache: Path
    normals: Scores
    anomalies: Scores

    @classmethod
    def open(cls, study: Study, record: CandidateRecord, suite: SuiteImages) -> TrialFiles:
        """Reads the scores.

        Raises:
            StoreError: They are missing or damaged, or belong to another suite.
        """
        folder = study.folder.trial(record.number)
        path = folder / "scores.npz"
        normals, anomalies = (StoredRows.open(path, f"{kind}/{record.rule}").all() for kind in ("normal", "anomaly"))
        if (len(normals), len(anomalies)) != (suite.normals, len(suite.cells)):
            raise StoreError(f"{path} holds scores of another proxy suite; search again under another --name")
        return cls(record, folder, study.folder.workspace / "cache", normals, anomalies)

    def anomaly_map(self, kind: Kind, index: int) -> Map:
        """The raw map of one image, float32 [h, w] at the detector's resolution.

        Raises:
            IndexError: There is no such image.
            StoreError: The maps are missing or damaged.
        """
        return self._maps[kind].row(index)

    @cached_property
    def map_range(self) -> tuple[float, float]:
        """Middle (0.5) and top (0.999) quantile of the normals' maps: what is usual, and what is high for a normal.

        Raises:
            StoreError: The maps are missing or damaged.
        """
        kept = self.cache / "map_ranges" / f"{self.maps_key}.json"
        if kept.is_file():
            low, high = read_json(kept)
            return float(low), float(high)
        found = np.quantile(self._maps["normal"].all(), _QUANTILES)
        with suppress(StoreError):  # what cannot be kept is worked out again
            write_json(kept, found)
        return float(found[0]), float(found[1])

    @cached_property
    def _maps(self) -> dict[Kind, StoredRows]:
        path = self.folder / "maps.npz"
        return {"normal": StoredRows.open(path, "normal"), "anomaly": StoredRows.open(path, "anomaly")}

    @property
    def maps_key(self) -> str:
        """Names the maps without reading them: another run of the trial would write another file."""
        status = self._maps["normal"].path.stat()
        parts = [str(self.folder.absolute()), str(status.st_mtime_ns), str(status.st_size)]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()
