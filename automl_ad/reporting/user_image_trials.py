"""Candidates of a study on the user's own images: what they mark, and how real defects would rank the candidates."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from automl_ad.errors import InputError, StoreError
from automl_ad.evaluation.aggregation import ScoreAggregation, score_maps
from automl_ad.reporting.real_defects import by_real_defects
from automl_ad.reporting.suite_images import Picture, SuiteImages
from automl_ad.reporting.thumbnails import encoded, shrunk, under_heat
from automl_ad.reporting.trial_files import Map, TrialFiles, complete_trials
from automl_ad.reporting.user_image_results import Floats, Scale, UserImageResults, thumbnail_name
from automl_ad.reporting.user_images import UserImages, find_user_images
from automl_ad.store.artifacts import write_atomically
from automl_ad.store.plain_json import plain
from automl_ad.study.configuration import configuration_of
from automl_ad.study.context import StudyContext
from automl_ad.study.detectors import trial_detector
from automl_ad.study.machine import study_arithmetic
from automl_ad.study.progress import Event, Listener, ignore_events
from automl_ad.study.study import Study
from automl_ad.study.trial import describe_error

SIDE = 320
"""Longest side of the images shown, in pixels."""


@study_arithmetic()
def try_images(
    study: Study, numbers: Sequence[int], pictures: Path, output: Path, listener: Listener = ignore_events
) -> dict[str, Any]:
    """Scores images by candidates that are fitted exactly as in their trials.

    Their scores on the proxy suite's normals are then the scale: p-values, threshold and colours all come from those.
    A file that cannot be read, and a candidate that fails, are reported in the answer and do not affect the others.

    Args:
        study: A study with the trials.
        numbers: Complete trials, at least one.
        pictures: Folder with ``good``, ``defect`` (sub-folders name the types) and ``unlabelled``, or some of these.
        output: Folder for what is shown; made if absent.
        listener: Called with progress.

    Returns:
        Plain JSON. ``trials``: each with ``number``, ``method``, ``backbone``, ``rule``, ``proxy_normals`` (how many),
        ``threshold``, ``overkill`` (what it guarantees), ``promise`` (a sentence) and ``error``. ``pictures``: each
        with ``name``, ``label``, ``defect`` (its type), ``image`` (a file below ``output``), ``error``, and in
        ``trials``, by number as text, ``score``, ``p``, ``anomalous``, ``heat`` (a file below ``output``) and
        ``error``. ``real``: None without defects, else ``good``, ``proxy_normals``, ``defects`` (how many of each),
        ``order`` (trial numbers, the best first), ``note`` (what to make of it) and ``trials``, in that order, each
        with ``number``, ``auroc``, ``interval`` (90 %), ``prior``, ``posterior`` and ``sd`` (see
        `automl_ad.selection.few_defects.rerank`), ``escapes`` and ``overkill`` (``count``, ``of``, ``interval``, or
        None).

    Raises:
        StudyError: A trial is unknown, not complete or named twice.
        InputError: There are no trials or images, or the study's images have changed.
        WeightsError: The weights of a backbone cannot be had.
        StoreError: Files of the study are missing or damaged, or nothing can be written.
    """
    if not numbers:
        raise InputError("No trial was named to judge the images; choose at least one.")
    found, suite = find_user_images(pictures), SuiteImages.open(study.folder)
    scales = [Scale.of(TrialFiles.open(study, record, suite)) for record in complete_trials(study, numbers)]
    listener(Event("try", "Reading the images of the study"))
    context = study.context()
    with _scratch_file(output) as file:
        total, how = len(found) * (1 + len(scales)), context.data.normals.reading

        def reading(done: int) -> None:
            listener(Event("try", "Reading images", done, total))

        user_images = UserImages.read(found, how, file, reading)
        trial = _Trial(context, user_images, output, listener)
        results = [trial.run(scale, len(found) * (1 + place), total) for place, scale in enumerate(scales)]
        answer = {
            "study": study.name,
            "trials": [result.summary() for result in results],
            "pictures": _picture_rows(user_images, results, output),
            "real": by_real_defects(user_images, results, study),
        }
    return dict(plain(answer))


@dataclass(frozen=True)
class _Trial:
    """Scores user images by candidates, one after the other."""

    context: StudyContext
    user_images: UserImages
    output: Path
    listener: Listener

    def run(self, scale: Scale, done: int, total: int) -> UserImageResults:
        """Fits one candidate and scores all images by it."""
        number, scores = scale.files.record.number, np.full(len(self.user_images.pictures), np.nan)
        try:
            self.listener(Event("try", f"Fitting trial {number}", done, total))
            detector = trial_detector(self.context, scale.files.record)
            for rows, images in self.user_images.blocks(self._size(scale)):
                self.listener(Event("try", f"Trying trial {number}", done + rows[0], total))
                maps = detector.anomaly_maps(images)
                rule = ScoreAggregation.parse(str(scale.files.record.rule))
                scores[rows] = np.where(np.isfinite(maps).all(axis=(1, 2)), score_maps(maps, rule, images.size), np.nan)
                self._show(scale, rows, scores, maps)
        except StoreError:
            raise  # a full disk is no candidate's fault
        except Exception as error:  # one candidate's fault must not cost the others their answer
            return UserImageResults(scale, np.full_like(scores, np.nan), describe_error(error))
        return UserImageResults(scale, scores)

    def _size(self, scale: Scale) -> tuple[int, int]:
        how = self.context.data.at(configuration_of(scale.files.record).side).preprocessing
        return how.height, how.width

    def _show(self, scale: Scale, rows: Sequence[int], scores: Floats, maps: Map) -> None:
        for row, anomaly_map in zip(rows, maps, strict=True):
            if np.isfinite(scores[row]):
                painted = under_heat(self.user_images.picture(row), anomaly_map, scale.map_range, SIDE)
                _write(self.output / thumbnail_name(row, scale.files.record.number), painted)


def _picture_rows(user_images: UserImages, results: Sequence[UserImageResults], output: Path) -> list[dict[str, Any]]:
    rows = []
    for place, picture in enumerate(user_images.pictures):
        fault = user_images.faults.get(place)
        if fault is None:
            _write(output / thumbnail_name(place), shrunk(user_images.picture(place), SIDE))
        rows.append(
            {
                "name": picture.name,
                "label": picture.label,
                "defect": picture.defect,
                "image": None if fault else thumbnail_name(place),
                "error": fault,
                "trials": {} if fault else {str(result.number): result.verdict(place) for result in results},
            }
        )
    return rows


def _write(path: Path, picture: Picture) -> None:
    with write_atomically(path) as temporary:
        temporary.write_bytes(encoded(picture, SIDE))


@contextmanager
def _scratch_file(folder: Path) -> Iterator[IO[bytes]]:
    """Makes a folder, and yields a temporary file in it."""
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(tempfile.TemporaryFile(dir=folder))
        except OSError as error:
            raise StoreError(
                f"{folder} cannot be written ({error.strerror}); free the disk or change its permissions"
            ) from error
        yield file
