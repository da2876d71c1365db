"""The ranking of a study's candidates: robust rank aggregation over the cells (family and severity) of the proxy suite.

Cells that do not separate the candidates carry no weight, and a cell of a family that a candidate learned from does not
rank it (in-family bias).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy import stats

from automl_ad.evaluation.cells import cell_family
from automl_ad.evaluation.metrics import Ranked
from automl_ad.methods.names import ENSEMBLE, candidate_words
from automl_ad.methods.registry import candidate_class
from automl_ad.store.records import CandidateRecord
from automl_ad.tuned import TRIM

Floats = npt.NDArray[np.float64]
_Group = tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]

BASELINE_TRIAL = 0
"""Number of the training-free baseline, which is proposed first; see `is_baseline`."""
SATURATED = 0.995
"""A cell in which three quarters of the candidates reach this image AUROC tells nothing more about them."""
CELL_METRICS = ("image_auroc", "localisation_auroc")
"""What a record keeps of every cell."""


class Limits(Protocol):
    """The part of a study's settings that decides which candidates may win."""

    @property
    def max_latency_ms(self) -> float | None:
        """Slower candidates cannot win; None for no limit."""
        ...

    @property
    def max_size_mb(self) -> float | None:
        """Larger candidates cannot win; None for no limit."""
        ...

    @property
    def ensemble(self) -> bool:
        """Whether ensembles compete."""
        ...


def describe_candidate(number: int, method: str, backbone: str | None, score: float | None) -> str:
    """The candidate that leads, as a list or a progress line names it."""
    return f"trial {number}: {candidate_words(method, backbone)}, proxy score {score or 0:.3f}"


def limits_exceeded(record: CandidateRecord, limits: Limits) -> dict[str, float]:
    """By how much a candidate is over each of the user's limits; feasible when 0 or less."""
    pairs = {
        "latency_ms": (record.latency_ms, limits.max_latency_ms),
        "size_mb": (record.size_mb, limits.max_size_mb),
    }
    return {key: value - limit for key, (value, limit) in pairs.items() if value is not None and limit is not None}


def usable(records: Sequence[CandidateRecord], limits: Limits) -> list[CandidateRecord]:
    """Complete candidates within the user's limits; ensembles only if the user wants them."""
    complete = [r for r in records if r.state == "complete" and (limits.ensemble or r.method != ENSEMBLE)]
    return [record for record in complete if all(over <= 0 for over in limits_exceeded(record, limits).values())]


def ranked(records: Sequence[CandidateRecord]) -> list[tuple[CandidateRecord, float]]:
    """Complete candidates and their rank scores, best first; equals in the order of their trials.

    In every cell they are ranked twice: by image AUROC and by localisation AUROC. A family that a candidate learned
    from does not rank it, since its scores there are too high (in-family bias); on the other families its `advantage`
    is subtracted.
    """
    if not records:
        return []
    cells = list(records[0].image_auroc)
    # Trials of early versions have no localisation AUROC.
    metrics = [metric for metric in CELL_METRICS if all(getattr(record, metric) for record in records)]
    table = np.array([[getattr(record, metric)[cell] for metric in metrics for cell in cells] for record in records])
    advantages = np.array([record.advantage for record in records])
    scores = rank_scores(table, np.tile(in_family(records, cells), len(metrics)), advantages)
    pairs = zip(records, (float(score) for score in scores), strict=True)
    return sorted(pairs, key=lambda pair: (-round(pair[1], 9), pair[0].number))


def in_family(records: Sequence[CandidateRecord], cells: Sequence[str]) -> npt.NDArray[np.bool_]:
    """True at [candidate, cell] where the candidate learned from the family of the cell."""
    families = [cell_family(cell) for cell in cells]
    # Thousands of candidates learn from very few sets of families.
    rows = {
        learned: [family in learned for family in families] for learned in {record.learned_from for record in records}
    }
    return np.array([rows[record.learned_from] for record in records])


def is_baseline(record: CandidateRecord) -> bool:
    """Whether a candidate is the training-free baseline.

    The first trial is, unless only methods that train were searched: then there is none.
    """
    if record.number != BASELINE_TRIAL:
        return False
    settings = {name: value for name, value in record.params.items() if name != "side"}
    # Not validated, as a table also shows candidates of earlier versions.
    return not candidate_class(record.method).settings_type.model_construct(**settings).trains


def baseline_of(records: Iterable[CandidateRecord]) -> int | None:
    """Trial number of the training-free baseline; None if the candidates include none."""
    return next((record.number for record in records if is_baseline(record)), None)


def contains_baseline(record: CandidateRecord) -> bool:
    """Whether a candidate is an ensemble that contains the baseline."""
    return any(member["trial"] == BASELINE_TRIAL for member in record.params.get("members", ()))


def informative_cells(table: Floats) -> npt.NDArray[np.bool_]:
    """Which columns of a [candidates, cells] table of image AUROC carry weight; all of them if none would.

    What is NaN does not count; a cell needs two other values.
    """
    useful = np.zeros(table.shape[1], bool)
    for column, values in enumerate(table.T):
        known = values[~np.isnan(values)]
        useful[column] = len(known) > 1 and np.quantile(known, 0.25) < SATURATED and np.ptp(known) > 1e-9
    return useful if useful.any() else np.ones_like(useful)


def rank_scores(
    table: Floats, in_family_cells: npt.NDArray[np.bool_] | None = None, advantages: Floats | None = None
) -> Floats:
    """Robust rank aggregation of a [candidates, cells] table of image AUROC.

    Args:
        table: Image AUROC.
        in_family_cells: bool [candidates, cells], True where a candidate learned from the family of the cell; None for
            nowhere. Such a cell does not count for it, and how it fares against the others there is taken from the
            cells that neither learned from.
        advantages: float64 [candidates], subtracted from each before they are compared; None for nothing. Whether a
            cell is informative is decided before the subtraction.

    Returns:
        float64 [candidates] in 0 to 1: the trimmed mean, over informative cells, of the share of the other candidates
        that a candidate beats (a tie counts one half).
    """
    if len(table) == 1:
        return np.ones(1)
    in_family_cells = np.zeros(table.shape, bool) if in_family_cells is None else in_family_cells
    useful = informative_cells(np.where(in_family_cells, np.nan, table))
    level = table if advantages is None else table - advantages[:, None]
    table, groups = level[:, useful], _alike(in_family_cells[:, useful])
    scores, shares = np.empty(len(table)), _beaten(table, groups)
    for learned, rows in groups:
        counted = shares[rows] if learned.all() else shares[rows][:, ~learned]
        scores[rows] = stats.trim_mean(counted, TRIM, axis=1)
    return scores


def _alike(in_family_cells: npt.NDArray[np.bool_]) -> list[_Group]:
    """Candidates that learned from the same cells: the cells, bool [cells], and the rows of the candidates."""
    learned, group = np.unique(in_family_cells, axis=0, return_inverse=True)
    return [(cells, np.flatnonzero(group.ravel() == index)) for index, cells in enumerate(learned)]


def _beaten(table: Floats, groups: Sequence[_Group]) -> Floats:
    """Share of the others that each candidate beats in each cell, among families that neither learned from."""
    wins = np.zeros_like(table)
    for mine, rows in groups:
        for theirs, others in groups:
            wins[rows] += _wins(table[rows], table[others], ~(mine | theirs), itself=rows is others)
    return wins / (len(table) - 1)


def _wins(own: Floats, others: Floats, comparable: npt.NDArray[np.bool_], itself: bool) -> Floats:
    """How many of the others each candidate beats in each cell, a tie counting one half.

    In cells of a family that one of them learned from, the others count as on average in the rest: since all pairs of
    two groups share their cells, the average over pairs is that of the counts, and no pair need be looked at.

    Args:
        own: [candidates, cells].
        others: [others, cells].
        comparable: bool [cells], True where neither learned from the family.
        itself: Whether each candidate is among the others: it does not count.
    """
    if not comparable.any():  # they have no cells in common: nothing is known
        return np.full(own.shape, (len(others) - itself) / 2)
    wins = np.zeros_like(own)
    for column in np.flatnonzero(comparable):
        wins[:, column] = Ranked.of(others[:, column], own[:, column]).wins - itself / 2
    wins[:, ~comparable] = wins[:, comparable].mean(axis=1, keepdims=True)
    return wins
