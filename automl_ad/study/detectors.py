"""From a trial to a fitted detector: restored, fitted again as the trial had it, or refitted on all normals."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.torch import load, save
from sklearn.model_selection import GroupKFold

from automl_ad.bundle.calibration import CalibratedDetector, Calibration
from automl_ad.data.image_set import ImageSet
from automl_ad.evaluation.aggregation import ScoreAggregation, score_maps
from automl_ad.methods.base import Detector
from automl_ad.store.artifacts import StudyFolder, write_atomically
from automl_ad.store.records import CandidateRecord
from automl_ad.study.configuration import configuration_of
from automl_ad.study.context import StudyContext

STATE = "state.safetensors"


def save_state(detector: Detector, folder: StudyFolder, number: int) -> None:
    """Writes the state of a trial's detector, if its method trains; others are fitted again faster.

    Raises:
        StoreError: The folder cannot be written.
    """
    if detector.settings.trains:
        with write_atomically(folder.trial(number) / STATE) as temporary:
            temporary.write_bytes(save(detector.state))


def restore_state(detector: Detector, folder: StudyFolder, number: int) -> bool:
    """Loads what ``save_state`` wrote into an unfitted detector; False where there is nothing that suits it."""
    try:
        detector.load_state(load((folder.trial(number) / STATE).read_bytes()))
    except (OSError, SafetensorError, ValueError):  # removed, damaged, or of another version
        return False
    return True


def remove_states(folder: StudyFolder, kept: Collection[int]) -> None:
    """Removes the states of all trials but those named: large networks would fill the disk."""
    spared = {folder.trial(number) / STATE for number in kept}
    for path in set(folder.trials.glob(f"*/{STATE}")) - spared:
        path.unlink(missing_ok=True)


def trial_detector(context: StudyContext, record: CandidateRecord) -> Detector:
    """The detector of a trial, fitted to the training split: restored, or fitted again however long that takes."""
    detector, lost = _restored(context, record)
    _fit(context, record, lost)
    return detector


def available_trial_detector(context: StudyContext, record: CandidateRecord) -> Detector | None:
    """As `trial_detector`, but None where a trained state was not kept, so that it takes seconds at most."""
    detector, lost = _restored(context, record)
    if any(part.settings.trains for part in lost):
        return None
    _fit(context, record, lost)
    return detector


def _restored(context: StudyContext, record: CandidateRecord) -> tuple[Detector, list[Detector]]:
    """The detector with every state that was kept, and the parts that are still to be fitted."""
    detector = context.build(configuration_of(record))
    # The states of an ensemble's members lie with the members' own trials.
    numbers = [int(member["trial"]) for member in record.params.get("members", ())] or [record.number]
    parts = zip(detector.parts, numbers, strict=True)
    return detector, [part for part, number in parts if not restore_state(part, context.folder, number)]


def _fit(context: StudyContext, record: CandidateRecord, parts: Sequence[Detector]) -> None:
    normals = context.data.at(configuration_of(record).side).normals
    for part in parts:
        context.fit(part, normals.take(context.data.normals.splits.train))


Fit = Callable[[ImageSet], Detector]
Maps = npt.NDArray[np.float32]


@dataclass(frozen=True)
class OutOfFold:
    """Anomaly maps and scores of good images by detectors fitted to the others.

    Attributes:
        maps: float32 [n, h, w], of all images.
        rows: One image of each group of near-duplicates, the one with the highest score: an image saved twice
            counts once.
        calibration: Of these.
    """

    maps: Maps
    rows: npt.NDArray[np.int64]
    calibration: Calibration

    @classmethod
    def of(cls, fit: Fit, normals: ImageSet, groups: Sequence[int], rule: ScoreAggregation, folds: int) -> OutOfFold:
        """Fits a detector a fold; near-duplicates stay in one fold, so that no copy of an image is trained on.

        Args:
            fit: Makes a fitted detector of good images.
            normals: All of them.
            groups: Near-duplicate group of each.
            rule: Turns maps into scores.
            folds: Largest number of folds; fewer if there are fewer groups.

        Raises:
            ValueError: There are fewer than two groups.
        """
        maps = _maps(fit, normals, np.asarray(groups), folds)
        scores = score_maps(maps, rule, normals.size)
        rows = _highest(scores, np.asarray(groups))
        return cls(maps, rows, Calibration.of(scores[rows], maps[rows], normals.size))


def _maps(fit: Fit, normals: ImageSet, groups: npt.NDArray[np.int64], folds: int) -> Maps:
    splitter = GroupKFold(n_splits=min(folds, len(np.unique(groups))))
    parts: list[tuple[npt.NDArray[np.int64], Maps]] = []
    for train, held_out in splitter.split(groups, groups=groups):
        parts.append((held_out, fit(normals.take(train)).anomaly_maps(normals.take(held_out))))
    order = np.argsort(np.concatenate([rows for rows, _ in parts]))
    return np.concatenate([maps for _, maps in parts])[order]


def _highest(scores: npt.NDArray[np.float64], groups: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The row with the highest score of each group, in the order in which groups first appear."""
    members = [np.flatnonzero(groups == group) for group in dict.fromkeys(groups.tolist())]
    return np.array([rows[scores[rows].argmax()] for rows in members])


def _ignore(done: int, total: int) -> None:
    """Ignores progress."""
    del done, total


def refit(
    context: StudyContext, record: CandidateRecord, folds: int, tell: Callable[[int, int], None] = _ignore
) -> CalibratedDetector:
    """Fits a candidate on all normals and calibrates it on folds that it did not see.

    Args:
        context: The study's images and backbones.
        record: The candidate.
        folds: Parts of the normals, each seen by a detector fitted to the others.
        tell: Called before each fit with how many are done and how many there are.
    """
    configuration = configuration_of(record)
    views, groups = context.data.at(configuration.side), context.data.normals.groups
    rule, fits = ScoreAggregation.parse(str(record.rule)), count()
    total = min(folds, len(set(groups))) + 1

    def fit(normals: ImageSet) -> Detector:
        tell(next(fits), total)
        detector = context.build(configuration)
        context.fit(detector, normals)
        return detector

    unseen = OutOfFold.of(fit, views.normals, groups, rule, folds)
    quantiles = np.quantile(unseen.maps, [0.5, 0.999])
    map_range = (float(quantiles[0]), float(quantiles[1]))
    return CalibratedDetector(fit(views.normals), rule, unseen.calibration, unseen.rows, map_range)
