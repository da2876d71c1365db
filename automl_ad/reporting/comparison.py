"""A few candidates side by side on the same images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from automl_ad.bundle.evaluation_gallery import outlined
from automl_ad.bundle.runtime import p_values
from automl_ad.errors import StudyError
from automl_ad.evaluation.cells import cell_family
from automl_ad.reporting.suite_images import Kind, Picture, SuiteImages, cell_severity
from automl_ad.reporting.thumbnails import ThumbnailCache, encoded, shrunk, under_heat
from automl_ad.reporting.trial_files import TrialFiles, complete_trials
from automl_ad.study.study import Study

Order = Literal["suite", "disagreement", "worst_miss", "worst_false_alarm"]
Layer = Literal["image", "mask"] | int

MOST = 4
"""Candidates that can be looked at side by side."""
SIDE = 224
"""Longest side of a thumbnail in pixels."""


@dataclass(frozen=True)
class PictureRow:
    """One image of the proxy suite and what the compared trials say of it.

    Attributes:
        kind: ``normal`` or ``anomaly``.
        index: Its place among those of its kind.
        family: How the anomaly was made; None for a normal.
        severity: How hard it is to see: image AUROC of the reference panel on its like, 0.5 to 1; None for a normal.
        base: The place among the normals of the image that the anomaly was drawn on; None for a normal.
        mask_share: Share of the pixels that was drawn over, 0 to 1.
        scores: By trial number the raw score, higher = more anomalous; scales differ between trials.
        p: By trial number the conformal p-value among that trial's validation normals, (1 + k) / (1 + n), where k of
            the n score at least as high; small = anomalous. It means the same for all trials. A normal is one of the n
            itself.
    """

    kind: Kind
    index: int
    family: str | None
    severity: float | None
    base: int | None
    mask_share: float
    scores: Mapping[int, float]
    p: Mapping[int, float]

    @property
    def spread(self) -> float:
        """How far the trials disagree: the largest ratio of two p-values, in powers of ten; 0 for fewer than two."""
        return float(np.ptp(np.log10([*self.p.values()]))) if self.p else 0.0


class Comparison:
    """Up to four complete trials on the images of the proxy suite, which can be looked at without any as well.

    Attributes:
        numbers: The trials, in the order given.
        suite: The images.
        trials: By number, what each trial left on disk.
        pictures: All of the suite, normals first, then anomalies in the order drawn.
    """

    def __init__(self, study: Study, numbers: Sequence[int]) -> None:
        """Reads scores and masks; maps and images only when they are shown.

        Raises:
            StudyError: There are too many trials, or one is unknown or not complete.
            StoreError: Files of the suite or of a trial are missing or damaged.
        """
        if len(numbers) > MOST:
            raise StudyError(f"{len(numbers)} trials cannot be looked at side by side; choose at most {MOST}.")
        records = complete_trials(study, numbers)
        self.numbers = tuple(numbers)
        self.suite = SuiteImages.open(study.folder)
        self.trials = {record.number: TrialFiles.open(study, record, self.suite) for record in records}
        self.pictures = [*self._rows("normal"), *self._rows("anomaly")]
        self._thumbnails = ThumbnailCache.of(study.folder)

    def ordered(
        self, by: Order = "suite", family: str | None = None, severity: float | None = None
    ) -> list[PictureRow]:
        """The images that matter to a question, the most telling first; equals in the order of the suite.

        Args:
            by: ``suite``: all, as drawn. ``disagreement``: all, by how far the trials' p-values lie apart on a log
                scale. ``worst_miss``: anomalies, by the smallest p-value that any of the trials gives: the first are
                those that all of them take for normal; among equals the ones that are easier to see come first.
                ``worst_false_alarm``: normals, by the smallest p-value that any of the trials gives, among equals those
                that are anomalous to all.
            family: Only anomalies of this family; the question of false alarms has no families and ignores it.
            severity: Only anomalies of this severity; likewise.
        """
        if by == "worst_false_alarm":
            return sorted((row for row in self.pictures if row.kind == "normal"), key=_odd_though_normal)
        chosen = [row for row in self.pictures if family in (None, row.family) and severity in (None, row.severity)]
        if by == "worst_miss":
            return sorted((row for row in chosen if row.kind == "anomaly"), key=_missed)
        return sorted(chosen, key=lambda row: -round(row.spread, 9)) if by == "disagreement" else chosen

    def thumbnail(self, row: PictureRow, layer: Layer, side: int | None = SIDE) -> bytes:
        """One image as a page shows it.

        Args:
            row: Which image.
            layer: ``image``, ``mask`` (the image with the outline of what was drawn), or a trial's number for its
                heatmap, coloured by that trial's own normals exactly as a bundle does.
            side: Longest side in pixels, as JPEG; None for the working size, as PNG.

        Raises:
            StudyError: The trial is not one of those compared.
            StoreError: Files of the suite or of the trial are missing or damaged.
        """
        picture, shown = self._layer(row, layer)
        key = f"{self.suite.key}/{row.kind}/{row.index}/{shown}/{side}"
        return self._thumbnails.get(key, lambda: encoded(picture(side), side))

    def _layer(self, row: PictureRow, layer: Layer) -> tuple[Callable[[int | None], Picture], str]:
        """How to paint a layer at a given side, and all that it depends on beside the image, as text."""
        if layer == "image" or (layer == "mask" and row.kind == "normal"):
            return lambda side: shrunk(self._image(row), side), "image"
        if layer == "mask":
            return lambda side: outlined(shrunk(self._image(row), side), self.suite.mask(row.index)), "mask"
        if layer not in self.trials:
            raise StudyError(f"Trial {layer} is not one of those compared; choose among {_listed(self.numbers)}.")
        files = self.trials[int(layer)]
        bounds = files.map_range
        return (
            lambda side: under_heat(self._image(row), files.anomaly_map(row.kind, row.index), bounds, side),
            f"heat/{files.maps_key}/{bounds}",
        )

    def _image(self, row: PictureRow) -> Picture:
        return self.suite.picture(row.kind, row.index)

    def _rows(self, kind: Kind) -> list[PictureRow]:
        anomalous = kind == "anomaly"
        scores = {number: files.anomalies if anomalous else files.normals for number, files in self.trials.items()}
        ranks = {number: p_values(scores[number], self.trials[number].normals) for number in scores}
        return [
            PictureRow(
                kind=kind,
                index=index,
                family=cell_family(self.suite.cells[index]) if anomalous else None,
                severity=cell_severity(self.suite.cells[index]) if anomalous else None,
                base=self.suite.bases[index] if anomalous else None,
                mask_share=self.suite.mask_shares[index] if anomalous else 0.0,
                scores={number: float(values[index]) for number, values in scores.items()},
                p={number: float(values[index]) for number, values in ranks.items()},
            )
            for index in range(len(self.suite.cells) if anomalous else self.suite.normals)
        ]


def _missed(row: PictureRow) -> tuple[float, float, int]:
    return -min(row.p.values(), default=1), -(row.severity or 0), row.index


def _odd_though_normal(row: PictureRow) -> tuple[float, float, int]:
    ranks = [*row.p.values()] or [1.0]
    return min(ranks), round(float(np.log(ranks).mean()), 9), row.index


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers)) or "none"
