"""Exact intervals and tests for binomial proportions; exact, because counts are often small."""

from __future__ import annotations

from scipy import stats


def exact_interval(count: int, of: int, level: float = 0.9) -> tuple[float, float]:
    """The Clopper-Pearson interval (Biometrika 1934) of a proportion.

    Unlike a bootstrap interval, it does not shrink to a point if the count is 0 or ``of``.

    Args:
        count: Number of successes, 0 to ``of``.
        of: Number of observations, at least 1.
        level: Coverage, above 0 and below 1: the interval contains the true proportion at least this often.

    Returns:
        (low, high), each 0 to 1.

    Raises:
        ValueError: A number is out of range.
    """
    _check(count, of)
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1 but got {level}")
    found = stats.binomtest(count, of).proportion_ci(level, "exact")
    return float(found.low), float(found.high)


def chance_of_as_many(count: int, of: int, share: float) -> float:
    """The p-value of the exact one-sided binomial test: the chance of ``count`` or more when ``share`` is the truth.

    Args:
        count: Number of successes, 0 to ``of``.
        of: Number of observations, at least 1.
        share: The true share under the hypothesis, 0 to 1.

    Raises:
        ValueError: A number is out of range.
    """
    _check(count, of)
    if not 0 <= share <= 1:
        raise ValueError(f"share must be 0 to 1 but got {share}")
    return float(stats.binomtest(count, of, share, alternative="greater").pvalue)


def chance_by_calibration(count: int, of: int, rank: int, n: int) -> float:
    """The chance of ``count`` or more alarms on good images when the threshold is itself a draw.

    The share of good images above the ``rank``-th highest of n calibration scores differs from one set of calibration
    images to the next: it follows Beta(rank, n + 1 - rank), so that the alarms are beta-binomial (Vovk 2012,
    Conditional validity of inductive conformal predictors).

    Args:
        count: Alarms, 0 to ``of``.
        of: Good images that were looked at, at least 1.
        rank: Place of the threshold among the calibration scores, 1 the highest; n + 1 for one below all of them.
        n: Calibration images, at least 1.

    Raises:
        ValueError: A number is out of range.
    """
    _check(count, of)
    if not 1 <= rank <= n + 1:
        raise ValueError(f"rank must be 1 to {n + 1} but got {rank}")
    return float(stats.betabinom.sf(count - 1, of, rank, n + 1 - rank)) if rank <= n else 1.0


def _check(count: int, of: int) -> None:
    if of < 1 or not 0 <= count <= of:
        raise ValueError(f"a share needs a count between 0 and the number looked at, but got {count} of {of}")
