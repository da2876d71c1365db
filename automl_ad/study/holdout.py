"""The final check of the best few: on the proxy and the certify suites together."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from automl_ad.evaluation.cells import Cells, cell_family, family_weights, joined
from automl_ad.evaluation.intervals import BootstrapPlan
from automl_ad.methods.base import Detector
from automl_ad.methods.registry import ENSEMBLE
from automl_ad.seeds import derived_rng
from automl_ad.selection.decision import Finalist
from automl_ad.store.records import CandidateRecord
from automl_ad.study.candidate import (
    SuiteScores,
    away_cells,
    configuration_of,
    pooled,
    score_suite,
    suite_maps,
)
from automl_ad.study.trial import BOOTSTRAP_DRAWS, SCORES, StudyContext, plan_for
from automl_ad.study.trial_detector import trial_detector

Floats = npt.NDArray[np.float64]


class HoldoutCheck:
    """Judges finalists on the proxy and the certify suites together.

    What ranks all trials is a few good images and anomalies, and the first of a ranking is partly lucky with them. The
    certify suite brings other images and anomalies. Both together tell more than either: every anomaly is held against
    all good images that the candidate did not learn from.

    Args:
        bench: The study's images, suites and backbones.
        home: Families that some finalist learned from: they count for none, so that all are compared on one ground.
    """

    def __init__(self, context: StudyContext, home: Collection[str]) -> None:
        data = context.data
        counts = [len(getattr(data.normals.splits, purpose)) for purpose in ("proxy", "certify")]
        self._bench = context
        self._cells = joined([data.proxy, data.certify], ["proxy", "certify"], counts)
        self._away = away_cells(self._cells.cell_names, home)
        self._plan = plan_for(self._cells, sum(counts), context.seed, "certify")
        self._families = _drawn_weights(self._away, context.seed)

    def finalist(self, record: CandidateRecord) -> tuple[Finalist, dict[str, float]]:
        """Judges a candidate; what it made of the certify suite is kept, so that nobody is certified twice.

        Returns:
            The finalist and its image AUROC by cell of the certify suite.

        Raises:
            FileNotFoundError: The candidate's scores of the proxy suite are lost: a fault of this candidate alone.
            StoreError: Scores are damaged, or cannot be written.
        """
        kept = self._bench.folder.trial(record.number) / SCORES
        if not kept.is_file():
            raise FileNotFoundError(f"{kept} is missing, so that the trial cannot be judged.")
        side = configuration_of(record).side
        if not holdout_path(self._bench, record.number, side).is_file():
            save_holdout_scores(self._bench, record.number, side, trial_detector(self._bench, record))
        certify = SuiteScores.load(holdout_path(self._bench, record.number, side))
        proxy = SuiteScores.load(kept)
        cells = certify.cells(self._bench.data.certify, str(record.rule))
        return self._judged(record, pooled(proxy, certify)), cells

    def _judged(self, record: CandidateRecord, scores: SuiteScores) -> Finalist:
        rule = str(record.rule)
        draws = scores.draws(self._cells, rule, self._plan, self._away)
        exact = scores.draws(self._cells, rule, _once(self._plan, self._cells), self._away)
        of_families: Floats = (self._families * draws).sum(axis=0)
        value = float((family_weights(self._away) @ exact).item())
        advantage = record.advantage
        return Finalist(record.number, value - advantage, of_families - advantage, float(record.latency_ms or 0))


def _once(plan: BootstrapPlan, cells: Cells) -> BootstrapPlan:
    """The plan that counts every image once."""
    normals = np.ones((1, plan.normals.shape[1]))
    return BootstrapPlan(normals, {cell: np.ones((1, len(cells.members(cell)))) for cell in cells.cell_names})


def _drawn_weights(cells: Sequence[str], seed: int) -> Floats:
    """How much each cell counts in each bootstrap sample of families, float64 [cells, B]; columns sum to one."""
    names = [cell_family(cell) for cell in cells]
    families = list(dict.fromkeys(names))
    rng = derived_rng(seed, "bootstrap/families")
    drawn = rng.multinomial(len(families), np.full(len(families), 1 / len(families)), size=BOOTSTRAP_DRAWS)
    weights: Floats = family_weights(cells)[:, None] * drawn[:, [families.index(name) for name in names]].T
    return weights


def save_holdout_scores(context: StudyContext, number: int, side: int, detector: Detector) -> None:
    """Scores a trial's detector on the certify suite and keeps the scores with the trial."""
    views = context.data.at(side)
    normals = views.normals.take(context.data.normals.splits.certify)
    scores = score_suite(suite_maps(detector, normals, views.certify), views.certify)
    scores.save(holdout_path(context, number, side))


def holdout_path(context: StudyContext, number: int, side: int) -> Path:
    """Where a trial keeps what it made of the certify suite."""
    return context.folder.trial(number) / f"certify_{context.data.at(side).certify.digest[:16]}.npz"


def shortlist(
    ranking: Sequence[tuple[CandidateRecord, float]], count: int, default: int, averages: Collection[int]
) -> list[CandidateRecord]:
    """The best few candidates of a ranking, the averages, and the default wherever it stands.

    Args:
        ranking: Records and rank scores, the best first.
        count: How many of those that are no averages.
        default: Trial number of the default.
        averages: Trial numbers of the averages that compete.
    """
    singles = [record.number for record, _ in ranking if record.method != ENSEMBLE]
    chosen = {*singles[:count], default, *averages}
    return [record for record, _ in ranking if record.number in chosen]


def learned_families(records: Sequence[CandidateRecord]) -> frozenset[str]:
    """Families that some of the candidates learned from."""
    return frozenset[str]().union(*(record.learned_from for record in records))


def holdout_summary(finalist: Finalist, cells: Mapping[str, float]) -> dict[str, object]:
    """What the database keeps of the final check."""
    return {"value": finalist.value, "cells": dict(cells)}
