"""The end of a search: certify the best few, decide, and refit the winner."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
import numpy.typing as npt

from automl_ad.bundle.calibration import Calibration
from automl_ad.data.image_set import ImageSet
from automl_ad.evaluation.scoring import ScoringRule
from automl_ad.methods.features import FeatureDetector
from automl_ad.search.calibrating import OutOfFold
from automl_ad.search.candidate import Configuration, SuiteScores, away_cells, score_suite
from automl_ad.search.selection import Finalist
from automl_ad.search.trained_states import restore_state
from automl_ad.search.trial import Bench, plan_for
from automl_ad.store.records import CandidateRecord


def _unheard(done: int, total: int) -> None:
    """Progress that nobody watches."""
    del done, total


def configuration_of(record: CandidateRecord) -> Configuration:
    """The configuration that a record was made with."""
    settings = {key: value for key, value in record.params.items() if key != "side"}
    return Configuration.of(record.method, int(record.params["side"]), settings)


def certify(bench: Bench, record: CandidateRecord, home: Collection[str]) -> tuple[Finalist, dict[str, float]]:
    """Scores a candidate on the certify suite: other images, other anomalies.

    The scores are kept with the trial, so that a search that goes on later certifies nobody twice.

    Args:
        bench: The study's images, suites and backbones.
        record: The candidate.
        home: Families that some finalist learned from: they count for none, so that all are compared on one ground.

    Returns:
        The finalist and its image AUROC by cell.
    """
    configuration = configuration_of(record)
    views, splits = bench.material.at(configuration.side), bench.material.normals.splits
    path = bench.folder.trial(record.number) / f"certify_{views.certify.digest[:16]}.npz"
    if not path.is_file():
        detector = bench.build(configuration)
        if not restore_state(detector, bench.folder, record.number):
            bench.fit(detector, views.normals.take(splits.fit))
        scores, _ = score_suite(detector, views.normals.take(splits.certify), views.certify)
        scores.save(path)
    return finalist_of(bench, record, SuiteScores.load(path), home)


def finalist_of(
    bench: Bench, record: CandidateRecord, scores: SuiteScores, home: Collection[str]
) -> tuple[Finalist, dict[str, float]]:
    """What a candidate's certify scores say under the rule that the proxy chose for it."""
    suite, rule = bench.material.certify, str(record.rule)
    cells = scores.cells(suite, rule)
    plan = plan_for(suite, len(bench.material.normals.splits.certify), bench.seed, "certify")
    away = away_cells(suite.cell_names, home)
    value = float(np.mean([cells[cell] for cell in away]))
    draws = scores.draws(suite, rule, plan, away)
    return Finalist(record.number, draws, value, float(record.latency_ms or 0)), cells


@dataclass(frozen=True)
class Winner:
    """A candidate refitted on all normals, with what its promises rest on.

    Attributes:
        detector: Fitted on every normal of the study.
        rule: How its maps become scores.
        calibration: Of the distinct normals, out of fold.
        rows: Which normals these are.
        map_range: Middle (0.5) and top (0.999) quantile of the normals' out-of-fold maps, to colour heatmaps by.
    """

    detector: FeatureDetector
    rule: ScoringRule
    calibration: Calibration
    rows: npt.NDArray[np.int64]
    map_range: tuple[float, float]


def refit(bench: Bench, record: CandidateRecord, folds: int, tell: Callable[[int, int], None] = _unheard) -> Winner:
    """Fits a candidate on all normals and calibrates it on folds that it did not see.

    Args:
        bench: The study's images and backbones.
        record: The candidate.
        folds: Parts of the normals, each seen by a detector fitted to the others.
        tell: Called before each fit with how many are done and how many there are.
    """
    configuration = configuration_of(record)
    views, groups = bench.material.at(configuration.side), bench.material.normals.groups
    rule, fits = ScoringRule.parse(str(record.rule)), count()
    total = min(folds, len(set(groups))) + 1

    def fit(normals: ImageSet) -> FeatureDetector:
        tell(next(fits), total)
        detector = bench.build(configuration)
        bench.fit(detector, normals)
        return detector

    unseen = OutOfFold.of(fit, views.normals, groups, rule, folds)
    quantiles = np.quantile(unseen.maps, [0.5, 0.999])
    map_range = (float(quantiles[0]), float(quantiles[1]))
    return Winner(fit(views.normals), rule, unseen.calibration, unseen.rows, map_range)


def families_learned(records: Sequence[CandidateRecord]) -> frozenset[str]:
    """Families that some of the candidates learned from."""
    return frozenset[str]().union(*(record.learned_from for record in records))


def certified_summary(finalist: Finalist, cells: Mapping[str, float]) -> dict[str, object]:
    """What the database keeps of a certification."""
    return {"value": finalist.value, "cells": dict(cells)}


def shortlist(
    ranking: Sequence[tuple[CandidateRecord, float]], count: int, default: int | None
) -> list[CandidateRecord]:
    """The best few of a ranking, and the default wherever it stands."""
    best = [record for record, _ in ranking[:count]]
    return best + [record for record, _ in ranking[count:] if record.number == default]
