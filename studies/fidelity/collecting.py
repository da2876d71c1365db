"""Runs a study on a set, judges its trials by real defects, and keeps what selection rules are tried on."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from appearance import Pixels, whole_picture_aurocs
from facts import Facts, Floats

import automl_ad
from automl_ad.data.image_set import ImageSet
from automl_ad.data.labelled_sets import labelled_images
from automl_ad.evaluation.suite_scores import SuiteScores
from automl_ad.methods.names import ENSEMBLE
from automl_ad.selection.decision import Finalist
from automl_ad.selection.holdout import learned_families
from automl_ad.selection.ranking import BASELINE_TRIAL, in_family, usable
from automl_ad.store.records import CandidateRecord
from automl_ad.study.assess import labelled_scores
from automl_ad.study.context import StudyContext
from automl_ad.study.holdout import HoldoutCheck
from automl_ad.study.real_defects import gather_evidence
from automl_ad.study.trial import SCORES

SHOWN = 20
"""Real defects, drawn at random, that trials are shown to see what a few of them are worth."""


def collect(dataset: Path, seed: int, arguments: argparse.Namespace) -> Facts:
    """Searches a set without its defects, then has every usable trial judged by them.

    Both steps go on where they were stopped.
    """
    study = automl_ad.search(
        dataset,
        name=f"{dataset.name}_{seed}",
        workspace=arguments.output / "workspace",
        weights_dir=arguments.weights_dir,
        preset=arguments.preset,
        methods=arguments.methods.split(",") if arguments.methods else None,
        backbones=arguments.backbones.split(",") if arguments.backbones else None,
        trials=arguments.trials,
        time_budget=arguments.time_budget,
        seed=seed,
    )
    context, answer = study.context(), study.answer()
    records = _competing(usable(study.repository.candidates(study.name), study.settings), answer.certified)
    scores, labels = labelled_scores(context, records, dataset)
    normals = context.data.normals
    pixels = np.stack([normals.reading.load(image.path) for image in labelled_images(dataset)])
    shown, placements = _shown(context, records, pixels, labels, seed)
    cells = list(context.data.proxy.cell_names)
    finalists = _finalists(context, records, answer.certified)
    place = {record.number: row for row, record in enumerate(records)}
    return Facts(
        set=dataset.name,
        seed=seed,
        trials=[_trial(record) for record in records],
        cells=cells,
        default=place.get(BASELINE_TRIAL),
        seconds=_seconds(study),
        appearance=whole_picture_aurocs(normals.images.pixels, pixels, labels),
        image_cells=_table(records, "image_auroc", cells),
        localisation_cells=_table(records, "localisation_auroc", cells),
        home=in_family(records, cells),
        proxy=np.array([record.proxy_score for record in records], dtype=np.float64),
        good=np.array([_good_scores(context, record) for record in records]),
        scores=scores,
        labels=labels,
        placements=placements,
        shown=shown,
        finalists=np.array([place[finalist.number] for finalist in finalists]),
        values=np.array([finalist.value for finalist in finalists]),
        draws=np.array([finalist.draws for finalist in finalists]),
    )


def _competing(records: list[CandidateRecord], certified: Sequence[int]) -> list[CandidateRecord]:
    """All but ensembles that an earlier run of the same search formed of what led then."""
    return [record for record in records if record.method != ENSEMBLE or record.number in certified]


def _finalists(context: StudyContext, records: list[CandidateRecord], numbers: Sequence[int]) -> list[Finalist]:
    """Those that the search checked again, from the scores that it kept."""
    of = {record.number: record for record in records}
    chosen = [of[number] for number in numbers]
    check = HoldoutCheck(context, learned_families(chosen))
    return [check.finalist(record)[0] for record in chosen]


def _seconds(study: automl_ad.Study) -> dict[str, float]:
    """How long the trials took from the start of the study, and the suite before the first of them.

    As the database has it, so that it holds for a study that was concluded anew; a pause counts as time.
    """
    known = study.repository.find_study(study.name)
    assert known is not None
    begun = known.created_at
    trials = [record for record in study.repository.candidates(study.name) if record.method != ENSEMBLE]
    starts = [record.started_at for record in trials if record.started_at is not None]
    ends = [record.ended_at for record in trials if record.ended_at is not None]
    return {"search": (max(ends) - begun).total_seconds(), "suite": (min(starts) - begun).total_seconds()}


def _trial(record: CandidateRecord) -> dict[str, Any]:
    names = ("number", "method", "backbone", "rule", "advantage", "latency_ms", "fit_s", "total_s")
    return {name: getattr(record, name) for name in names} | {"params": dict(record.params)}


def _good_scores(context: StudyContext, record: CandidateRecord) -> Floats:
    return SuiteScores.load(context.folder.trial(record.number) / SCORES).normals[str(record.rule)]


def _table(records: list[CandidateRecord], metric: str, cells: list[str]) -> Floats:
    return np.array([[getattr(record, metric)[cell] for cell in cells] for record in records], dtype=np.float64)


def _shown(
    context: StudyContext, records: list[CandidateRecord], pixels: Pixels, labels: npt.NDArray[np.bool_], seed: int
) -> tuple[npt.NDArray[np.int64], Floats]:
    """A few real defects, and where trials place them among good images that they did not see."""
    chosen = np.sort(np.random.default_rng(seed).permutation(np.flatnonzero(labels))[:SHOWN])
    return chosen, gather_evidence(context, records, ImageSet.of(pixels[chosen])).placements
