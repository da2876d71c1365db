"""The ranked table of a study's trials, kept up to date while a search adds to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from threading import Lock

import numpy as np
import numpy.typing as npt
from pydantic import Field

from automl_ad.errors import StudyError
from automl_ad.results import SearchOutcome, TrialResult
from automl_ad.selection.ranking import ranked, usable
from automl_ad.store.records import CandidateRecord, Revision, StudyRecord
from automl_ad.store.repository import Repository
from automl_ad.study.settings import StudySettings
from automl_ad.study.study import trial_fields

PARETO_KEYS = ("proxy_score", "latency_ms", "size_mb")
_HIGHER_IS_BETTER = frozenset({"proxy_score", "rank_score", "certify_score"})


class TrialRow(TrialResult):
    """One trial as the table shows it: the trial, its rank and what else is kept of it.

    Attributes:
        rank: Place among the usable trials, 1 the best; None for those that are not complete or exceed a limit.
        rank_score: What it is ranked by, 0 to 1: the share of the others that it beats, over families and severities.
        cells: Image AUROC by family and severity.
        located: Localisation AUROC by family and severity; empty for trials of early versions.
        rules: Mean image AUROC by score aggregation.
        learned_from: Families that it learned from: these do not rank it.
        certify_cells: Image AUROC on the hold-out suite by family and severity.
        started_at: When it began, aware, UTC.
        ended_at: When its result was known, aware, UTC.
        worker: Who ran it, as ``host:pid``.
        within_limits: Whether it is complete and within the user's limits of latency and size.
    """

    rank: int | None = None
    rank_score: float | None = None
    cells: Mapping[str, float] = Field(default_factory=dict)
    located: Mapping[str, float] = Field(default_factory=dict)
    rules: Mapping[str, float] = Field(default_factory=dict)
    learned_from: frozenset[str] = frozenset()
    certify_cells: Mapping[str, float] = Field(default_factory=dict)
    started_at: datetime | None = None
    ended_at: datetime | None = None
    worker: str | None = None
    within_limits: bool = False


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
        rows = [self._row(record, rank, score) for rank, (record, score) in enumerate(order, 1)]
        rows += [self._row(record) for record in self._records if record.number not in placed]
        self.rows, self._by_number = rows, {row.number: row for row in rows}

    def _row(self, record: CandidateRecord, rank: int | None = None, rank_score: float | None = None) -> TrialRow:
        # Not validated again, since the database holds nothing else: a table of thousands is read while people wait.
        return TrialRow.model_construct(
            **trial_fields(record, self._outcome, self._picked),
            rank=rank,
            rank_score=rank_score,
            cells=record.image_auroc,
            located=record.localisation_auroc,
            rules=record.aggregations,
            learned_from=record.learned_from,
            certify_cells=record.holdout_auroc,
            started_at=record.started_at,
            ended_at=record.ended_at,
            worker=record.worker,
            within_limits=rank is not None,
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
