"""What the detectors of finished trials say of real defects that they have never seen."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from automl_ad.data.image_set import ImageSet
from automl_ad.errors import StoreError
from automl_ad.evaluation.aggregation import AGGREGATIONS, score_all
from automl_ad.evaluation.suite import resize_images
from automl_ad.methods.base import Detector
from automl_ad.selection.shrinkage import Floats, placements
from automl_ad.store.artifacts import load_arrays, save_arrays
from automl_ad.store.records import CandidateRecord
from automl_ad.study.configuration import configuration_of
from automl_ad.study.context import StudyContext
from automl_ad.study.detectors import available_trial_detector
from automl_ad.study.progress import Event, Listener, ignore_events
from automl_ad.study.trial import describe_error

NOT_KEPT = "what its training learned was not kept"
NOT_FINITE = "its anomaly maps hold values that are not finite"


@dataclass(frozen=True)
class Evidence:
    """What the detectors of finished trials say of real defects.

    Attributes:
        placements: float64 [T, k], share of the study's normals that the detector did not see which score lower than
            the defect, under the trial's own rule; a tie counts one half; NaN where a trial cannot give any.
        faults: By trial number, why it cannot.
    """

    placements: Floats
    faults: Mapping[int, str]


def gather_evidence(
    context: StudyContext, records: Sequence[CandidateRecord], images: ImageSet, listener: Listener = ignore_events
) -> Evidence:
    """Scores real defects by the detectors of finished trials, and keeps the scores with each trial.

    A detector that takes a training is used if it was kept; the others are fitted again to the same images.

    Args:
        context: The study's images and backbones.
        records: Finished trials.
        images: The defects, at the study's largest working size.
        listener: Called with progress.

    Raises:
        StoreError: The scores cannot be written, or are damaged.
    """
    table, faults = np.full((len(records), len(images)), np.nan), {}
    defects = _Defects(context, images)
    for row, record in enumerate(records):
        listener(Event("defects", f"Showing the defects to trial {record.number}", row, len(records)))
        try:
            found = defects.placements(record)
        except StoreError:
            raise  # a full disk is no candidate's fault
        except Exception as error:  # one candidate's fault must not cost the others their evidence
            found = describe_error(error).rstrip(".")
        if isinstance(found, str):
            faults[record.number] = found
        else:
            table[row] = found
    return Evidence(table, faults)


class _Defects:
    """The defects at each working size, and what trials make of them."""

    def __init__(self, context: StudyContext, images: ImageSet) -> None:
        self._context = context
        self._images = images
        self._sets: dict[int, ImageSet] = {}

    def placements(self, record: CandidateRecord) -> Floats | str:
        """float64 [k], or why there are none."""
        scores = self._scores(record)
        if scores is None:
            return NOT_KEPT
        normals, defects = scores[f"normal/{record.rule}"], scores[f"defect/{record.rule}"]
        if not (np.isfinite(normals).all() and np.isfinite(defects).all()):
            return NOT_FINITE
        return placements(normals, defects)

    def _scores(self, record: CandidateRecord) -> dict[str, Floats] | None:
        """By every rule, so that another one needs no detector; None where the detector cannot be had in seconds."""
        key = hashlib.sha256(f"{self._images.key}{record.configuration_hash}".encode()).hexdigest()[:16]
        path = self._context.folder.trial(record.number) / f"defects_{key}.npz"
        if path.is_file():
            return load_arrays(path)
        detector = available_trial_detector(self._context, record)
        if detector is None:
            return None
        side, splits = configuration_of(record).side, self._context.data.normals.splits
        unseen = self._context.data.at(side).normals.take([*splits.validation, *splits.holdout])
        sets = {"normal": unseen, "defect": self._at(side)}
        scores = {
            f"{kind}/{rule}": values
            for kind, images in sets.items()
            for rule, values in _by_rule(detector, images).items()
        }
        save_arrays(path, **scores)
        return scores

    def _at(self, side: int) -> ImageSet:
        if side not in self._sets:
            how = self._context.data.at(side).preprocessing
            self._sets[side] = resize_images(self._images, (how.height, how.width))
        return self._sets[side]


def _by_rule(detector: Detector, images: ImageSet) -> dict[str, Floats]:
    maps = detector.anomaly_maps(images)
    bad = np.asarray(~np.isfinite(maps).all(axis=(1, 2)))
    maps = np.where(bad[:, None, None], np.float32(0), maps)
    return {rule: np.where(bad, np.nan, scores) for rule, scores in score_all(maps, AGGREGATIONS, images.size).items()}
