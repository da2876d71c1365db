"""A few real defects: read as a study reads its images, and scored by the detectors of finished trials."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from automl_ad.data.fingerprint import pixel_hash
from automl_ad.data.image_set import ImageSet
from automl_ad.data.layouts import separate_masks
from automl_ad.data.listing import list_folder
from automl_ad.data.study_images import StudyImages
from automl_ad.errors import InputError, StoreError
from automl_ad.evaluation.aggregation import AGGREGATIONS, score_all
from automl_ad.evaluation.suite import resize_images
from automl_ad.formatting import first_few
from automl_ad.methods.base import Detector
from automl_ad.selection.few_defects import Evidence, Floats, placements
from automl_ad.store.artifacts import keep_arrays, load_arrays
from automl_ad.store.records import CandidateRecord
from automl_ad.study.configuration import configuration_of
from automl_ad.study.context import StudyContext
from automl_ad.study.detectors import available_trial_detector
from automl_ad.study.progress import Event, Listener, ignore_events
from automl_ad.study.trial import describe_error
from automl_ad.suggestions import suggested_command

NOT_KEPT = "what its training learned was not kept"
NOT_FINITE = "its anomaly maps hold values that are not finite"
MAX_DEFECTS = 20
"""Defects from which on they deserve a labelled set of their own, with good images beside them."""
_LISTED = 5
"""Files named in one note."""


@dataclass(frozen=True)
class DefectImages:
    """The images that could be read, each once.

    Attributes:
        paths: Their files, sorted.
        images: At the largest working size of the study, in the same order.
        notes: Sentences on what was left out.
    """

    paths: Sequence[Path]
    images: ImageSet
    notes: Sequence[str]

    @classmethod
    def read(cls, folder: Path, normals: StudyImages) -> DefectImages:
        """Reads the images of a folder with the preprocessing of a study.

        Args:
            folder: Of 1 to `MAX_DEFECTS` images; sub-folders count.
            normals: The good images of the study.

        Raises:
            InputError: No such folder, no image in it or none that can be read, too many of them, or one that is
                among the good images.
        """
        paths = find_defects(folder)
        pixels, faults = normals.reading.load_all(paths)
        if not len(pixels):
            raise InputError(f"None of the {len(paths)} images in {folder} (--defects) can be read: {faults[0][1]}")
        unread = {path for path, _ in faults}
        readable = [path for path in paths if path not in unread]
        first: dict[str, int] = {}
        for row, image in enumerate(pixels):
            first.setdefault(pixel_hash(image), row)
        _refuse_good_ones(first, readable, normals)
        rows = list(first.values())
        copies = [path for row, path in enumerate(readable) if row not in set(rows)]
        notes = [*_left_out("cannot be read", [reason for _, reason in faults]), *_left_out("are copies", copies)]
        return cls([readable[row] for row in rows], ImageSet.of(pixels[rows]), notes)


def find_defects(folder: Path) -> list[Path]:
    """Lists the images of a folder of real defects, sorted; masks among them are passed over.

    Raises:
        InputError: No such folder, no image in it, or more than `MAX_DEFECTS`.
    """
    if folder.is_file():
        raise InputError(f"{folder} (--defects) is a file: give the folder that holds the images of defects.")
    if not folder.is_dir():
        raise InputError(f"{folder} (--defects) does not exist: give a folder of 1 to {MAX_DEFECTS} images of defects.")
    paths, _ = separate_masks(list_folder(folder))
    if not paths:
        raise InputError(f"{folder} (--defects) holds no images: put 1 to {MAX_DEFECTS} images of defects there.")
    if len(paths) > MAX_DEFECTS:
        raise InputError(
            f"{folder} (--defects) holds {len(paths)} images, and {MAX_DEFECTS} are the most: lay so many out as a "
            "labelled set with good images beside them (test/good, test/<defect>) and run "
            f"`{suggested_command('assess', 'NAME', 'DATASET')}`."
        )
    return paths


def _refuse_good_ones(first: dict[str, int], paths: Sequence[Path], normals: StudyImages) -> None:
    """One image cannot be good and defective; detectors learned from it, too."""
    for image in normals.images.pixels:
        row = first.get(pixel_hash(image))
        if row is not None:
            raise InputError(
                f"{paths[row]} (--defects) is one of the study's good images: remove it from there, or search again "
                "without it (--exclude)."
            )


def _left_out(why: str, items: Sequence[str | Path]) -> list[str]:
    if not items:
        return []
    return [f"Left out, since they {why}: {first_few([str(item).rstrip('.') for item in items], _LISTED, '; ')}."]


def among_defects(paths: Sequence[Path], defects: Path, normals: StudyImages) -> npt.NDArray[np.bool_]:
    """Which images show, pixel by pixel, what a picture in a folder of real defects shows, whatever their files hold.

    Args:
        paths: The images.
        defects: Folder of real defects; a picture that cannot be read counts as none, as in `DefectImages`.
        normals: The good images of the study.

    Returns:
        bool, in the order of ``paths``.

    Raises:
        InputError: One of the images cannot be read.
    """
    known = {pixel_hash(image) for image in normals.reading.load_all(find_defects(defects))[0]}
    return np.array([pixel_hash(normals.reading.load(path)) in known for path in paths])


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
        keep_arrays(path, **scores)
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
