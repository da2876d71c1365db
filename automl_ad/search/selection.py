"""Which candidate wins: ranks over cells, a second look on other images, and the default as guard.

The rules are those of honest selection: cells in which nobody can be told apart carry no weight; ranks are aggregated
robustly over families and severities; the training-free default stays unless another beats it beyond noise on the
certify images; whatever the evidence cannot tell from the best is named as tied.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]
_Group = tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]

SATURATED = 0.995
"""A cell in which three quarters of the candidates reach this image AUROC tells nothing more about them."""
TRIM = 0.2
"""Share of a candidate's best and of its worst cells that do not count."""
LEVEL = 0.9
"""Level of intervals and of paired comparisons."""
CLEARLY_FASTER = 2.0
"""How many times faster than the leader a tied candidate must be to be preferred to it: less is timing noise."""


def informative_cells(table: Floats) -> npt.NDArray[np.bool_]:
    """Which columns of a [candidates, cells] table of image AUROC carry weight; all of them if none would.

    What is NaN does not count; a cell needs two other values.
    """
    useful = np.zeros(table.shape[1], bool)
    for column, values in enumerate(table.T):
        known = values[~np.isnan(values)]
        useful[column] = len(known) > 1 and np.quantile(known, 0.25) < SATURATED and np.ptp(known) > 1e-9
    return useful if useful.any() else np.ones_like(useful)


def rank_scores(table: Floats, home: npt.NDArray[np.bool_] | None = None) -> Floats:
    """Robust rank aggregation of a [candidates, cells] table of image AUROC.

    Args:
        table: Image AUROC.
        home: bool [candidates, cells], True where a candidate learned from the family of the cell; None for nowhere.
            Such a cell does not count for it, and how it fares against the others there is taken from the cells that
            neither learned from.

    Returns:
        float64 [candidates] in 0 to 1: the trimmed mean, over informative cells, of the share of the other candidates
        that a candidate beats (a tie counts one half).
    """
    if len(table) == 1:
        return np.ones(1)
    home = np.zeros(table.shape, bool) if home is None else home
    useful = informative_cells(np.where(home, np.nan, table))
    table, groups = table[:, useful], _alike(home[:, useful])
    scores, shares = np.empty(len(table)), _beaten(table, groups)
    for learned, rows in groups:
        counted = shares[rows] if learned.all() else shares[rows][:, ~learned]
        scores[rows] = stats.trim_mean(counted, TRIM, axis=1)
    return scores


def _alike(home: npt.NDArray[np.bool_]) -> list[_Group]:
    """Candidates that learned from the same cells: the cells, bool [cells], and the rows of the candidates."""
    learned, group = np.unique(home, axis=0, return_inverse=True)
    return [(cells, np.flatnonzero(group.ravel() == index)) for index, cells in enumerate(learned)]


def _beaten(table: Floats, groups: Sequence[_Group]) -> Floats:
    """Share of the others that each candidate beats in each cell, as far as neither was at home there."""
    wins = np.zeros_like(table)
    for mine, rows in groups:
        for theirs, others in groups:
            wins[rows] += _wins(table[rows], table[others], ~(mine | theirs), itself=rows is others)
    return wins / (len(table) - 1)


def _wins(own: Floats, others: Floats, away: npt.NDArray[np.bool_], itself: bool) -> Floats:
    """How many of the others each candidate beats in each cell, a tie counting one half.

    Where one of them is at home, the others count as they do on average away: since all pairs of two groups share
    their cells, the average over pairs is that of the counts, and no pair need be looked at.

    Args:
        own: [candidates, cells].
        others: [others, cells].
        away: bool [cells], True where neither is at home.
        itself: Whether each candidate is among the others: it does not count.
    """
    if not away.any():  # they have no ground in common: nothing is known
        return np.full(own.shape, (len(others) - itself) / 2)
    wins = np.zeros_like(own)
    for column in np.flatnonzero(away):
        ascending = np.sort(others[:, column])
        below, up_to = (np.searchsorted(ascending, own[:, column], side) for side in ("left", "right"))
        wins[:, column] = (below + up_to - itself) / 2
    wins[:, ~away] = wins[:, away].mean(axis=1, keepdims=True)
    return wins


@dataclass(frozen=True)
class Finalist:
    """A candidate that was checked again on the certify images.

    Attributes:
        number: Trial number.
        draws: Paired bootstrap draws of its mean over cells on the certify suite, [B].
        value: That mean on the images as they are.
        latency_ms: For one image.
    """

    number: int
    draws: Floats
    value: float
    latency_ms: float


@dataclass(frozen=True)
class Decision:
    """The outcome of a search.

    Attributes:
        winner: Trial number.
        tied: Trial numbers that the evidence cannot tell from the best, the best first.
        default_kept: Whether the winner is the default because nothing beat it beyond noise.
        why: Sentences for the user.
    """

    winner: int
    tied: tuple[int, ...]
    default_kept: bool
    why: tuple[str, ...]


def decide(finalists: Sequence[Finalist], default: int | None) -> Decision:
    """Chooses among finalists.

    Args:
        finalists: At least one, in the order of the proxy ranking.
        default: Trial number of the training-free default, if it is usable.
    """
    by_number = {finalist.number: finalist for finalist in finalists}
    leader = max(finalists, key=lambda finalist: round(finalist.value, 6))
    guard = by_number.get(default) if default is not None else None
    rivals = max(1, len(finalists) - 1)
    if guard is leader or (guard is not None and not _beats(leader, guard, rivals)):
        return Decision(guard.number, _tied(guard, leader, finalists), True, _reasons_to_keep(guard, leader))
    tied = _tied(leader, leader, finalists)
    entitled = [by_number[n] for n in tied if guard is None or _beats(by_number[n], guard, rivals)]
    winner = _fastest(leader, entitled)
    return Decision(winner.number, tied, False, _reasons(winner, leader, guard, tied))


def _beats(one: Finalist, other: Finalist, rivals: int = 1) -> bool:
    """Whether ``one`` is better beyond noise; stricter when it is the best of several ``rivals`` (Bonferroni)."""
    return float(np.quantile(one.draws - other.draws, (1 - LEVEL) / rivals)) > 0


def _tied(first: Finalist, leader: Finalist, finalists: Sequence[Finalist]) -> tuple[int, ...]:
    rest = sorted((f for f in finalists if f is not first), key=lambda finalist: -finalist.value)
    return (first.number, *(f.number for f in rest if f is leader or not _beats(leader, f)))


def _fastest(leader: Finalist, tied: Sequence[Finalist]) -> Finalist:
    quick = [f for f in tied if f.latency_ms * CLEARLY_FASTER <= leader.latency_ms]
    return min(quick, key=lambda finalist: finalist.latency_ms, default=leader)


def _reasons_to_keep(guard: Finalist, leader: Finalist) -> tuple[str, ...]:
    if leader is guard:
        return (f"Trial {guard.number}, the training-free default, leads on the certify images ({guard.value:.3f}).",)
    return (
        f"Trial {guard.number}, the training-free default, stays: trial {leader.number} leads on the certify "
        f"images ({leader.value:.3f} against {guard.value:.3f}), but not beyond noise.",
    )


def _reasons(winner: Finalist, leader: Finalist, guard: Finalist | None, tied: Sequence[int]) -> tuple[str, ...]:
    why = []
    if winner is not leader:
        why.append(
            f"Trial {winner.number} cannot be told from the best (trial {leader.number}) and needs "
            f"{winner.latency_ms:.0f} ms instead of {leader.latency_ms:.0f} ms an image."
        )
    else:
        why.append(f"Trial {winner.number} has the best proxy score on the certify images ({winner.value:.3f}).")
    if guard is None:
        why.append("No default could stand guard: it failed or exceeds a limit.")
    else:
        why.append(f"It beats the training-free default, trial {guard.number} ({guard.value:.3f}), beyond noise.")
    if len(tied) > 1:
        why.append(f"{len(tied)} candidates are tied: the evidence cannot tell them apart.")
    return tuple(why)


def certainty_gaps(families: Mapping[str, float], home: Collection[str] = ()) -> list[str]:
    """What the choice could not know, in sentences.

    Args:
        families: Scores of the winner by family.
        home: Families that some finalist learned from.
    """
    learned = [name for name in families if name in home]
    kinds = f"Some of the best candidates learned from anomalies of {' and '.join(learned)}"
    if len(learned) == len(families):
        at_home = f"{kinds}, and there were no others to compare them on: their scores are too high."
    else:
        at_home = f"{kinds}: these did not count when the best were compared."
    return [
        f"Only synthetic anomalies of {len(families)} families ({', '.join(families)}) were seen, no real defect.",
        *([at_home] if learned else []),
        "Missing, wrong or misplaced parts and other logical defects were not among them.",
        "The proxy score ranks candidates; it does not predict the share of real defects found.",
    ]
