"""The detector of a finished trial, as the trial had it: fitted to the fit split, never to more."""

from __future__ import annotations

from collections.abc import Sequence

from automl_ad.methods.base import Detector
from automl_ad.store.records import CandidateRecord
from automl_ad.study.candidate import configuration_of
from automl_ad.study.trained_states import restore_state
from automl_ad.study.trial import StudyContext


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
        context.fit(part, normals.take(context.data.normals.splits.fit))
