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
    """Writes the state of a trial's detector, if its method trains: what is computed in closed form is done sooner.

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
    except (OSError, SafetensorError, ValueError):  # dropped, damaged, or of another version
        return False
    return True


def remove_states(folder: StudyFolder, kept: Collection[int]) -> None:
    """Removes the states of all trials but some: those of large networks would fill the disk."""
    spared = {folder.trial(number) / STATE for number in kept}
    for path in set(folder.trials.glob(f"*/{STATE}")) - spared:
        path.unlink(missing_ok=True)


def trial_detector(context: StudyContext, record: CandidateRecord) -> Detector:
    """Trained once and kept, or fitted again to the same images, however long that takes."""
    detector, lost = _restored(context, record)
    _fit(context, record, lost)
    return detector


def available_trial_detector(context: StudyContext, record: CandidateRecord) -> Detector | None:
    """The same if it can be had in seconds: None where what a training learned was not kept."""
    detector, lost = _restored(context, record)
    if any(part.settings.trains for part in lost):
        return None
    _fit(context, record, lost)
    return detector


def _restored(context: StudyContext, record: CandidateRecord) -> tuple[Detector, list[Detector]]:
    """The detector with all that was kept, and those of its parts that still are to be fitted."""
    detector = context.build(configuration_of(record))
    # What the members of an average learned lies with their own trials.
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
    """Good images as seen by detectors fitted to the others.

    Attributes:
        maps: float32 [n, h, w], of all images.
        rows: One image of each group of near-duplicates, the one with the highest score: a picture saved twice
            promises no more than once.
        calibration: Of these.
    """

    maps: Maps
    rows: npt.NDArray[np.int64]
    calibration: Calibration

    @classmethod
    def of(cls, fit: Fit, normals: ImageSet, groups: Sequence[int], rule: ScoreAggregation, folds: int) -> OutOfFold:
        """Fits a detector a fold; near-duplicates stay in one fold, or their scores would be of images all but seen.

        Args:
            fit: Makes a fitted detector of good images.
            normals: All of them.
            groups: Near-duplicate group of each.
            rule: Turns maps into scores.
            folds: At most so many; fewer if there are fewer groups.

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
    for train, is_locked in splitter.split(groups, groups=groups):
        parts.append((is_locked, fit(normals.take(train)).anomaly_maps(normals.take(is_locked))))
    order = np.argsort(np.concatenate([is_locked for is_locked, _ in parts]))
    return np.concatenate([maps for _, maps in parts])[order]


def _highest(scores: npt.NDArray[np.float64], groups: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The row with the highest score of each group, in the order in which groups first appear."""
    members = [np.flatnonzero(groups == group) for group in dict.fromkeys(groups.tolist())]
    return np.array([rows[scores[rows].argmax()] for rows in members])


def _unheard(done: int, total: int) -> None:
    """Progress that nobody watches."""
    del done, total


def refit(
    context: StudyContext, record: CandidateRecord, folds: int, tell: Callable[[int, int], None] = _unheard
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
