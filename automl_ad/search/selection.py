"""Which candidate wins: ranks over cells, a second look on other images, and the default as guard.

The rules are those of honest selection: cells in which nobody can be told apart carry no weight; ranks are aggregated
robustly over families and severities; the training-free default stays unless another beats it beyond noise when the
best are checked again; whatever the evidence cannot tell from the best is named as tied.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
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
EQUAL = 0.005
"""Proxy score within which two candidates are as good as each other: the noise of another seed."""
PROXY_TO_REAL, PROXY_ERROR = 0.2, 0.03
"""Of two finalists, how much of a difference in the final check is left, on average, in real image AUROC, and the
standard deviation of the latter about it: as found on real sets (docs/selection.md)."""
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
    """A candidate that was checked again, on the proxy and the certify images together.

    Attributes:
        number: Trial number.
        draws: Its mean over families in bootstrap samples of the images, float64 [B]; paired between finalists.
        wide: The same in bootstrap samples of images and families, float64 [B]; paired likewise.
        value: That mean on all images and families as they are.
        latency_ms: For one image.
    """

    number: int
    draws: Floats
    wide: Floats
    value: float
    latency_ms: float


@dataclass(frozen=True)
class Decision:
    """The outcome of a search.

    Attributes:
        winner: Trial number.
        tied: Trial numbers that the evidence cannot tell from the best, the best first.
        default_kept: Whether the winner is the default because nothing beat it beyond noise.
        certainty: Probability, 0 to 1, that on real defects the winner is at least as good as the default or, where
            that wins or is not usable, as the best of the others; 1 without a rival.
        why: Sentences for the user.
    """

    winner: int
    tied: tuple[int, ...]
    default_kept: bool
    certainty: float
    why: tuple[str, ...]


def decide(finalists: Sequence[Finalist], default: int | None, averages: Collection[int] = ()) -> Decision:
    """Chooses among finalists.

    The default stays unless it is beaten beyond noise. An average, which hedges the default with others, has to beat it
    in nine of ten samples of the images. A single candidate has to surpass whichever of them stays in samples of the
    families, too: real defects are of no family that was drawn, and what leads on those that were may be lost on them.

    Args:
        finalists: At least one, in the order of the proxy ranking.
        default: Trial number of the training-free default, if it is usable.
        averages: Trial numbers of averages.
    """
    leader = _best(finalists)
    guard = next((finalist for finalist in finalists if finalist.number == default), None)
    entitled = finalists if guard is None else _entitled(guard, finalists, averages)
    best = _best(entitled)
    winner = _fastest(best, entitled)
    tied = _tied(winner, leader, finalists)
    why = (_first_reason(winner, best, leader, guard), *_more_reasons(winner, guard, averages, tied))
    return Decision(winner.number, tied, winner is guard, _certainty(winner, guard, finalists), why)


def _entitled(guard: Finalist, finalists: Sequence[Finalist], averages: Collection[int]) -> list[Finalist]:
    """Who may have the place of the default: single candidates that surpass its holder, or the holder alone."""
    hedges = [finalist for finalist in finalists if finalist.number in averages and _beats(finalist, guard)]
    holder = _best(hedges) if hedges else guard
    singles = [f for f in finalists if f.number not in averages and f is not guard and _surpasses(f, holder)]
    return singles or [holder]


def _best(finalists: Sequence[Finalist]) -> Finalist:
    return max(finalists, key=lambda finalist: round(finalist.value, 6))


def _beats(one: Finalist, other: Finalist) -> bool:
    """Whether ``one`` is better beyond what other images could change."""
    return float(np.quantile(one.draws - other.draws, 1 - LEVEL)) > 0


def _surpasses(one: Finalist, other: Finalist) -> bool:
    """Whether ``one`` is better beyond what other images and other families could change."""
    return float(np.quantile(one.wide - other.wide, (1 - LEVEL) / 2)) > 0


def _tied(first: Finalist, leader: Finalist, finalists: Sequence[Finalist]) -> tuple[int, ...]:
    """The first, and all that the leader does not surpass, the best first."""
    rest = sorted((f for f in finalists if f is not first), key=lambda finalist: -finalist.value)
    return (first.number, *(f.number for f in rest if f is leader or not _surpasses(leader, f)))


def _certainty(winner: Finalist, guard: Finalist | None, finalists: Sequence[Finalist]) -> float:
    """How likely the winner is truly as good as whom it is held against: the default, or the best of the others."""
    others = [finalist for finalist in finalists if finalist is not winner]
    if not others:
        return 1.0
    rival = _best(others) if guard is None or guard is winner else guard
    expected = PROXY_TO_REAL * (winner.wide - rival.wide)
    return float(np.mean(stats.norm.cdf(expected / PROXY_ERROR)))


def _fastest(best: Finalist, entitled: Sequence[Finalist]) -> Finalist:
    """The fastest that is as good for all that matters, if it is faster by more than timing noise."""
    quick = [
        finalist
        for finalist in entitled
        if finalist.latency_ms * CLEARLY_FASTER <= best.latency_ms
        and finalist.value >= best.value - EQUAL
        and not _surpasses(best, finalist)
    ]
    return min(quick, key=lambda finalist: finalist.latency_ms, default=best)


def _first_reason(winner: Finalist, best: Finalist, leader: Finalist, guard: Finalist | None) -> str:
    if winner is not best:
        return (
            f"Trial {winner.number} is as good as the best (trial {best.number}) within {100 * EQUAL:g} points and "
            f"needs {winner.latency_ms:.0f} ms instead of {best.latency_ms:.0f} ms an image."
        )
    if winner is leader:
        name = f"Trial {winner.number}" + (", the training-free default," if winner is guard else "")
        return f"{name} leads in the final check (proxy score {winner.value:.3f})."
    if winner is guard:
        return (
            f"Trial {guard.number}, the training-free default, stays: trial {leader.number} leads in the final check "
            f"({leader.value:.3f} against {guard.value:.3f}), but not beyond noise."
        )
    return (
        f"Trial {winner.number} is the safer choice: trial {leader.number} leads the final check ({leader.value:.3f} "
        f"against {winner.value:.3f}), but not beyond what other images and families could change."
    )


def _more_reasons(
    winner: Finalist, guard: Finalist | None, averages: Collection[int], tied: Sequence[int]
) -> Iterator[str]:
    hedged = winner.number in averages
    if guard is None:
        yield "No default could stand guard: it failed or exceeds a limit."
    elif winner is not guard:
        noise = "other images" if hedged else "other images and families"
        default = f"the training-free default, trial {guard.number} ({guard.value:.3f})"
        yield f"It beats {default}, beyond what {noise} could change."
    if hedged and guard is not None:
        yield "It averages the default with the best others: where one of them errs, the rest outvote it."
    if len(tied) > 1:
        yield f"{len(tied)} candidates are tied: with other images and families any of them might lead."


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
        "Logical defects were not simulated: a wrong, misplaced or absent component, a wrong count or order.",
        "Nor were good parts that will look different (light, dirt, position, another batch): on two of eight real "
        "sets these, not the defects, decided which candidate was best.",
        "The proxy score ranks candidates; it does not predict the share of real defects found.",
    ]
