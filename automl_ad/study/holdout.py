"""The hold-out check of a study: scores of the best few on images and anomalies that ranked nobody."""

from __future__ import annotations

from collections.abc import Collection

from automl_ad.evaluation.suite_scores import SuiteScores
from automl_ad.selection.decision import Finalist
from automl_ad.selection.holdout import PooledSuites
from automl_ad.store.records import CandidateRecord
from automl_ad.study.configuration import configuration_of
from automl_ad.study.context import StudyContext
from automl_ad.study.detectors import trial_detector
from automl_ad.study.trial import SCORES, holdout_path, save_holdout_scores


class HoldoutCheck:
    """Judges finalists on the proxy and the hold-out suites together.

    Args:
        context: The study's images, suites and backbones.
        learned: Families that some finalist learned from: they count for none.
    """

    def __init__(self, context: StudyContext, learned: Collection[str]) -> None:
        data, splits = context.data, context.data.normals.splits
        counts = (len(splits.validation), len(splits.holdout))
        self._context = context
        self._suites = PooledSuites(data.proxy, data.holdout, counts, context.seed, learned)

    def is_scored(self, record: CandidateRecord) -> bool:
        """Whether the candidate was scored on the hold-out suite before, so that judging it takes no time."""
        return holdout_path(self._context, record.number, configuration_of(record).side).is_file()

    def finalist(self, record: CandidateRecord) -> tuple[Finalist, dict[str, float]]:
        """Judges a candidate; its scores on the hold-out suite are kept, so that it is scored once.

        Returns:
            The finalist and its image AUROC by cell of the hold-out suite.

        Raises:
            FileNotFoundError: The candidate's scores on the proxy suite are lost: a fault of this candidate alone.
            StoreError: Scores are damaged, or cannot be written.
        """
        kept = self._context.folder.trial(record.number) / SCORES
        if not kept.is_file():
            raise FileNotFoundError(f"{kept} is missing, so that the trial cannot be judged.")
        side = configuration_of(record).side
        path = holdout_path(self._context, record.number, side)
        if not path.is_file():
            save_holdout_scores(self._context, record.number, side, trial_detector(self._context, record))
        holdout = SuiteScores.load(path)
        cells = holdout.cells(self._context.data.holdout, str(record.rule))
        return self._suites.finalist(record, SuiteScores.load(kept), holdout), cells
