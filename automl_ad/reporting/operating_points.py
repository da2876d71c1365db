"""What a threshold would cost: overkill on the proxy suite's normals and escapes among its anomalies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from automl_ad.bundle.runtime import Threshold, overkill_threshold, smallest_overkill
from automl_ad.evaluation.cells import cell_family
from automl_ad.evaluation.proportions import exact_interval
from automl_ad.evaluation.suite_scores import unlearned_cells
from automl_ad.reporting.suite_images import SuiteImages
from automl_ad.reporting.trial_files import TrialFiles, complete_trials
from automl_ad.study.study import Study

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Share:
    """A counted share.

    Attributes:
        count: How many.
        of: Out of how many, at least 1.
        interval: 90 % interval of Clopper and Pearson, (low, high), each 0 to 1.
        in_family: Whether it is of a family that the candidate learned from, and therefore too low (in-family bias).
    """

    count: int
    of: int
    interval: tuple[float, float]
    in_family: bool = False

    @property
    def value(self) -> float:
        """The share, 0 to 1."""
        return self.count / self.of

    @classmethod
    def counted(cls, marks: npt.NDArray[np.bool_], in_family: bool = False) -> Share:
        """The share of marks that are True; at least one mark."""
        count, of = int(marks.sum()), len(marks)
        return cls(count, of, exact_interval(count, of), in_family)


@dataclass(frozen=True)
class OperatingPoint:
    """What the decision ``score > threshold`` does on the proxy suite.

    Attributes:
        threshold: On the raw scale of the candidate's scores.
        overkill: Of the normals, those called anomalous.
        guaranteed: The overkill, 0 to 1, that the normals guarantee for this threshold: (1 + k) / (1 + n).
        cells: Escapes by family and severity: anomalies not called anomalous.
        families: Escapes by family.
        total: Escapes over the families that the candidate did not learn from; over all if there is no other.
    """

    threshold: float
    overkill: Share
    guaranteed: float
    cells: Mapping[str, Share]
    families: Mapping[str, Share]
    total: Share


@dataclass(frozen=True)
class Histogram:
    """How often scores fall between shared edges.

    Attributes:
        edges: float64 [bins + 1], ascending; the last bin holds its upper edge.
        normals: int64 [bins].
        anomalies: int64 [bins].
        families: By family, int64 [bins]; together the anomalies.
    """

    edges: Floats
    normals: Counts
    anomalies: Counts
    families: Mapping[str, Counts]


class OperatingPoints:
    """The scores of one candidate on the proxy suite, and what thresholds would make of them.

    The normals also chose the score aggregation and took part in ranking the candidate, so what is shown here is a
    preview: a bundle computes its guarantee from out-of-fold scores of all good images.

    Attributes:
        number: The trial.
        normals: float64 [n], scores of the validation normals, higher = more anomalous.
        anomalies: float64 [M], scores of the synthetic anomalies.
        cells: For each anomaly its family and severity.
        learned_from: Families that the candidate learned from.
    """

    def __init__(self, study: Study, number: int) -> None:
        """Reads the scores of a complete trial.

        Raises:
            StudyError: The trial is unknown or not complete.
            StoreError: Its files are missing or damaged.
        """
        record = complete_trials(study, [number])[0]
        suite = SuiteImages.open(study.folder)
        files = TrialFiles.open(study, record, suite)
        self.number = number
        self.normals = files.normals
        self.anomalies = files.anomalies
        self.cells = list(suite.cells)
        self.learned_from = record.learned_from

    @property
    def range(self) -> tuple[float, float]:
        """(lowest, highest) score; never equal, so that there is room for a slider between them."""
        together = np.r_[self.normals, self.anomalies]
        low, high = float(together.min()), float(together.max())
        return (low, high) if high > low else (low, float(low + max(1e-6, abs(low) * 1e-6)))

    @property
    def smallest_overkill(self) -> float:
        """The smallest overkill, 0 to 1, that so many normals can guarantee."""
        return smallest_overkill(len(self.normals))

    def at(self, threshold: float) -> OperatingPoint:
        """What a threshold does.

        Args:
            threshold: What scores above it is called anomalous.
        """
        above, missed = self.normals > threshold, self.anomalies <= threshold
        families = np.array([cell_family(cell) for cell in self.cells])
        names = dict.fromkeys(self.cells)
        return OperatingPoint(
            threshold,
            Share.counted(above),
            (1 + int(above.sum())) / (1 + len(above)),
            {cell: self._share(missed[np.array(self.cells) == cell], cell_family(cell)) for cell in names},
            {family: self._share(missed[families == family], family) for family in dict.fromkeys(families.tolist())},
            Share.counted(missed[np.isin(self.cells, unlearned_cells(list(names), self.learned_from))]),
        )

    def threshold_for(self, overkill: float) -> Threshold:
        """The smallest threshold that guarantees at most the requested overkill, as bundles choose it.

        Args:
            overkill: Share of good parts that may be called anomalous, between 0 and 1.

        Returns:
            The threshold with its guarantee in a sentence; when the normals are too few, that of the smallest share
            that they support.

        Raises:
            ValueError: ``overkill`` is not between 0 and 1.
        """
        return overkill_threshold(self.normals, overkill)

    def histogram(self, bins: int = 40) -> Histogram:
        """Scores of normals and of each family counted between shared edges over the whole range.

        Args:
            bins: At least 1.
        """
        edges = np.linspace(*self.range, bins + 1)
        families = np.array([cell_family(cell) for cell in self.cells])
        by_family = {
            name: np.histogram(self.anomalies[families == name], edges)[0] for name in dict.fromkeys(families.tolist())
        }
        return Histogram(edges, np.histogram(self.normals, edges)[0], np.histogram(self.anomalies, edges)[0], by_family)

    def _share(self, missed: npt.NDArray[np.bool_], family: str) -> Share:
        return Share.counted(missed, family in self.learned_from)
