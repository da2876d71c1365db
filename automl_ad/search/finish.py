"""The end of a search: certify the best few, decide, and give the winner its threshold."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import GroupKFold

from automl_ad.evaluation.scoring import ScoringRule, score_maps
from automl_ad.evaluation.thresholds import Threshold, overkill_threshold
from automl_ad.methods.features import FeatureDetector
from automl_ad.search.candidate import Configuration, SuiteScores, away_cells, score_suite
from automl_ad.search.selection import Finalist
from automl_ad.search.trained_states import restore_state
from automl_ad.search.trial import Bench, plan_for
from automl_ad.store.records import CandidateRecord

DEFAULT_OVERKILL = 0.05
"""Share of good parts that may be called anomalous, unless the user asks for another."""


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
    """A candidate refitted on all normals, with its promise.

    Attributes:
        detector: Fitted on every normal of the study.
        rule: How its maps become scores.
        calibration: Out-of-fold scores of all distinct normals, float64 [n].
        threshold: From these scores.
        map_range: Middle (0.5) and top (0.999) quantile of the normals' out-of-fold maps, to colour heatmaps by.
    """

    detector: FeatureDetector
    rule: ScoringRule
    calibration: npt.NDArray[np.float64]
    threshold: Threshold
    map_range: tuple[float, float]


def refit(bench: Bench, record: CandidateRecord, folds: int, overkill: float = DEFAULT_OVERKILL) -> Winner:
    """Fits a candidate on all normals and calibrates it on folds that it did not see.

    Near-duplicates stay in one fold, so that no score is of an image that the fit had all but seen.
    """
    configuration = configuration_of(record)
    views = bench.material.at(configuration.side)
    rule = ScoringRule.parse(str(record.rule))
    maps = _out_of_fold(bench, configuration, folds)
    calibration = _one_a_group(score_maps(maps, rule, views.normals.size), bench.material.normals.groups)
    detector = bench.build(configuration)
    bench.fit(detector, views.normals)
    quantiles = np.quantile(maps, [0.5, 0.999])
    threshold = overkill_threshold(calibration, overkill)
    return Winner(detector, rule, calibration, threshold, (float(quantiles[0]), float(quantiles[1])))


def _one_a_group(scores: npt.NDArray[np.float64], groups: Sequence[int]) -> npt.NDArray[np.float64]:
    """The highest score of each group of near-duplicates: one picture saved often promises no more than once."""
    marks = np.array(groups)
    return np.array([scores[marks == group].max() for group in dict.fromkeys(groups)])


def _out_of_fold(bench: Bench, configuration: Configuration, folds: int) -> npt.NDArray[np.float32]:
    """Maps of all normals, each from a fit that did not see it, float32 [n, h, w]."""
    normals = bench.material.at(configuration.side).normals
    groups = np.array(bench.material.normals.groups)
    splitter = GroupKFold(n_splits=min(folds, len(set(groups.tolist()))))
    parts: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]] = []
    for train, held in splitter.split(groups, groups=groups):
        detector = bench.build(configuration)
        bench.fit(detector, normals.take(train))
        parts.append((held, detector.anomaly_maps(normals.take(held))))
    order = np.argsort(np.concatenate([held for held, _ in parts]))
    return np.concatenate([maps for _, maps in parts])[order]


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
