"""The ranked table of a study's trials, kept up to date while a search adds to it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from automl_ad.errors import StudyError
from automl_ad.results import SearchOutcome
from automl_ad.selection.ranking import BASELINE_TRIAL, ranked, usable
from automl_ad.store.records import CandidateRecord, Revision, State, StudyRecord
from automl_ad.store.repository import Repository
from automl_ad.study.settings import StudySettings

PARETO_KEYS = ("proxy_score", "latency_ms", "size_mb")
_HIGHER_IS_BETTER = frozenset({"proxy_score", "rank_score", "certify_score"})


@dataclass(frozen=True)
class TrialRow:
    """One trial as the table shows it.

    Attributes:
        number: The trial's number.
        state: running, complete, pruned or failed.
        method: Name of the detector's kind.
        backbone: Name of the feature extractor.
        params: The method's parameters, the working size as ``side`` among them.
        rule: Name of the score aggregation that the proxy score uses.
        rank: Place among the usable trials, 1 the best; None for those that are not complete or exceed a limit.
        rank_score: What it is ranked by, 0 to 1: the share of the others that it beats, over families and severities.
        proxy_score: Mean of image and localisation AUROC over families that it did not learn from, less ``advantage``;
            0 to 1.
        interval: 90 % interval of the proxy score, (low, high).
        families: Proxy score by family.
        cells: Image AUROC by family and severity.
        located: Localisation AUROC by family and severity; empty for trials of early versions.
        rules: Mean image AUROC by score aggregation.
        learned_from: Families that it learned from: these do not rank it.
        advantage: What was taken off its proxy score, in AUROC.
        certify_score: The same on the proxy and certify suites together, if it was checked again.
        certify_cells: Image AUROC on the certify suite by family and severity.
        latency_ms: Milliseconds for one image.
        size_mb: Megabytes of the fitted detector.
        peak_mb: Highest memory in use, in megabytes.
        fit_s: Seconds to fit.
        total_s: Seconds for the whole trial.
        reason: Why it failed or was pruned.
        started_at: When it began, aware, UTC.
        ended_at: When its result was known, aware, UTC.
        worker: Who ran it, as ``host:pid``.
        within_limits: Whether it is complete and within the user's limits of latency and size.
        winner: Whether the search proposes it.
        default: Whether it is the training-free baseline.
        tied: Whether it may well be better than the winner on real defects, or is it.
        picked: Whether a user's choice of it counts.
    """

    number: int
    state: State
    method: str
    backbone: str | None
    params: Mapping[str, Any]
    rule: str | None
    rank: int | None
    rank_score: float | None
    proxy_score: float | None
    interval: tuple[float, float] | None
    families: Mapping[str, float]
    cells: Mapping[str, float]
    located: Mapping[str, float]
    rules: Mapping[str, float]
    learned_from: frozenset[str]
    advantage: float
    certify_score: float | None
    certify_cells: Mapping[str, float]
    latency_ms: float | None
    size_mb: float | None
    peak_mb: float | None
    fit_s: float | None
    total_s: float | None
    reason: str | None
    started_at: datetime | None
    ended_at: datetime | None
    worker: str | None
    within_limits: bool
    winner: bool
    default: bool
    tied: bool
    picked: bool


class TrialTable:
    """The trials of one study, ranked as ``Study.trials`` ranks them.

    It reads the database and writes nothing. One table may serve several threads: ``rows`` is replaced as a whole.

    Attributes:
        rows: The usable trials, best first, then the others in the order of their numbers.
        answer: The outcome of the search without its ranking; None while there is none.
    """

    def __init__(self, repository: Repository, study_name: str) -> None:
        """Reads the trials.

        Raises:
            StudyError: There is no such study.
            StoreError: The database fails.
        """
        self._repository = repository
        self._name = study_name
        self._lock = Lock()
        self._revision: Revision | None = None
        self._study: StudyRecord
        self._outcome: SearchOutcome | None = None
        self._picked: int | None = None
        self._records: list[CandidateRecord] = []
        self.rows: list[TrialRow] = []
        self._by_number: dict[int, TrialRow] = {}
        self.refresh()

    @property
    def study(self) -> StudyRecord:
        """The study as it was at the last ``refresh``."""
        return self._study

    @property
    def answer(self) -> SearchOutcome | None:
        """The outcome of the search without its ranking; None while there is none."""
        return self._outcome

    def refresh(self) -> None:
        """Takes up what is new; costs next to nothing when nothing is.

        Raises:
            StudyError: The study was removed.
            StoreError: The database fails; the rows stay what they were.
        """
        with self._lock:
            # Read before all else: what changes from now on is found again by the next refresh.
            revision, known = self._repository.revision(self._name), self._revision
            if revision == known:
                return
            if known is None or known.changes != revision.changes:
                self._study = self._repository.get_study(self._name)
                pick = self._repository.newest_pick(self._name)
                self._picked = pick.number if pick else None
                self._records = self._repository.candidates(self._name)
            else:
                # After those already read, not after the revision: a search may have gone on between the two looks.
                newest = self._records[-1].number if self._records else None
                self._records = [*self._records, *self._repository.candidates(self._name, since=newest)]
            self._arrange()
            self._revision = revision

    def by_number(self, number: int) -> TrialRow:
        """One trial.

        Raises:
            StudyError: There is no such trial.
        """
        row = self._by_number.get(number)
        if row is None:
            known = (
                f"its trials are {min(self._by_number)} to {max(self._by_number)}" if self._by_number else "none yet"
            )
            raise StudyError(f"Study {self._name!r} has no trial {number}; {known}.")
        return row

    def pareto(self, keys: Sequence[str] = PARETO_KEYS) -> set[int]:
        """The trials that no other one beats in one respect without being worse in another.

        Trials over the user's limits, and those of which a value is unknown, take no part.

        Args:
            keys: Names of numbers of a row. Of scores the higher is better, of all else the lower.
        """
        signs = np.array([-1.0 if key in _HIGHER_IS_BETTER else 1.0 for key in keys])
        known = [(row.number, [getattr(row, key) for key in keys]) for row in self.rows if row.within_limits]
        known = [(number, values) for number, values in known if None not in values]
        if not known:
            return set()
        costs = np.array([values for _, values in known], np.float64) * signs
        return {known[place][0] for place in _undominated(costs)}

    def _arrange(self) -> None:
        good = usable(self._records, StudySettings(**self._study.settings))
        order = ranked(good)
        placed = {record.number for record, _ in order}
        answer = self._study.answer
        self._outcome = None if answer is None else SearchOutcome.model_validate(answer)
        winner = None if self._outcome is None else self._outcome.winner.trial
        tied = frozenset[int]() if self._outcome is None else frozenset(self._outcome.tied)
        marks = _Marks(winner, tied, self._picked)
        rows = [_row(record, marks, rank, score) for rank, (record, score) in enumerate(order, 1)]
        rows += [_row(record, marks) for record in self._records if record.number not in placed]
        self.rows, self._by_number = rows, {row.number: row for row in rows}


@dataclass(frozen=True)
class _Marks:
    winner: int | None
    tied: Collection[int]
    picked: int | None


def _row(record: CandidateRecord, marks: _Marks, rank: int | None = None, rank_score: float | None = None) -> TrialRow:
    number = record.number
    return TrialRow(
        number=number,
        state=record.state,
        method=record.method,
        backbone=record.backbone,
        params=record.params,
        rule=record.rule,
        rank=rank,
        rank_score=rank_score,
        proxy_score=record.proxy_score,
        interval=record.interval,
        families=record.families,
        cells=record.image_auroc,
        located=record.localisation_auroc,
        rules=record.aggregations,
        learned_from=record.learned_from,
        advantage=record.advantage,
        certify_score=record.holdout_score,
        certify_cells=record.holdout_auroc,
        latency_ms=record.latency_ms,
        size_mb=record.size_mb,
        peak_mb=record.peak_mb,
        fit_s=record.fit_s,
        total_s=record.total_s,
        reason=record.reason,
        started_at=record.started_at,
        ended_at=record.ended_at,
        worker=record.worker,
        within_limits=rank is not None,
        winner=number == marks.winner,
        default=number == BASELINE_TRIAL,
        tied=number in marks.tied,
        picked=number == marks.picked,
    )


def _undominated(costs: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Rows of [points, keys] such that no other row is at most as high everywhere and lower somewhere."""
    # In this order nothing later dominates anything earlier, so one look at the front found so far is enough.
    order = np.lexsort(costs.T[::-1])
    front: list[int] = []
    for place in order:
        found = costs[front]
        if not ((found <= costs[place]).all(axis=1) & (found < costs[place]).any(axis=1)).any():
            front.append(int(place))
    return np.array(front)
