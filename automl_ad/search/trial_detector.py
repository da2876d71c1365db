"""The detector of a finished trial, as the trial had it: fitted to the fit split, never to more."""

from __future__ import annotations

from collections.abc import Sequence

from automl_ad.methods.base import Detector
from automl_ad.search.candidate import configuration_of
from automl_ad.search.trained_states import restore_state
from automl_ad.search.trial import Bench
from automl_ad.store.records import CandidateRecord


def trial_detector(bench: Bench, record: CandidateRecord) -> Detector:
    """Trained once and kept, or fitted again to the same images, however long that takes."""
    detector, lost = _restored(bench, record)
    _fit(bench, record, lost)
    return detector


def trial_detector_at_hand(bench: Bench, record: CandidateRecord) -> Detector | None:
    """The same if it can be had in seconds: None where what a training learned was not kept."""
    detector, lost = _restored(bench, record)
    if any(part.settings.trains for part in lost):
        return None
    _fit(bench, record, lost)
    return detector


def _restored(bench: Bench, record: CandidateRecord) -> tuple[Detector, list[Detector]]:
    """The detector with all that was kept, and those of its parts that still are to be fitted."""
    detector = bench.build(configuration_of(record))
    # What the members of an average learned lies with their own trials.
    numbers = [int(member["trial"]) for member in record.params.get("members", ())] or [record.number]
    parts = zip(detector.parts, numbers, strict=True)
    return detector, [part for part, number in parts if not restore_state(part, bench.folder, number)]


def _fit(bench: Bench, record: CandidateRecord, parts: Sequence[Detector]) -> None:
    normals = bench.material.at(configuration_of(record).side).normals
    for part in parts:
        bench.fit(part, normals.take(bench.material.normals.splits.fit))
