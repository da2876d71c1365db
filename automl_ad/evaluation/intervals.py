"""Uncertainty of scores: paired bootstrap of AUROC-like scores, and rank correlations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from automl_ad.evaluation.metrics import Ranked, finite_scores

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class BootstrapPlan:
    """Multiplicity of each image in each bootstrap sample.

    All candidates of a study share one plan (paired bootstrap): variation that is common to the candidates cancels in
    their differences. All cells share the normals, as in the proxy score.

    Attributes:
        normals: float64 [B, n], multiplicities of the normal images; each row sums to n.
        cells: For each cell, float64 [B, m], multiplicities of its anomalous images; each row has a positive sum.
    """

    normals: Floats
    cells: Mapping[str, Floats]

    @classmethod
    def draw(
        cls,
        n_normals: int,
        n_anomalies_by_cell: Mapping[str, int],
        draws: int = 500,
        *,
        rng: np.random.Generator,
    ) -> BootstrapPlan:
        """Draws with replacement within the normals and within each cell.

        Args:
            n_normals: Number of normal images, at least 1.
            n_anomalies_by_cell: Number of anomalous images of each cell, each at least 1.
            draws: Bootstrap samples B, at least 1.
            rng: Source of the draws; cells are drawn in the order of the mapping.

        Raises:
            ValueError: A count is below 1.
        """
        if min(n_normals, draws, *n_anomalies_by_cell.values()) < 1:
            raise ValueError("a bootstrap needs at least one draw, one normal image and one image in each cell")
        normals = _multiplicities(n_normals, draws, rng)
        return cls(normals, {cell: _multiplicities(m, draws, rng) for cell, m in n_anomalies_by_cell.items()})

    @classmethod
    def draw_by_base(
        cls, n_normals: int, bases_by_cell: Mapping[str, Sequence[int]], draws: int = 500, *, rng: np.random.Generator
    ) -> BootstrapPlan:
        """Draws normals, and with each normal the anomalies that were drawn on it (cluster bootstrap).

        Anomalies on the same image are not independent observations: resampling them as if they were would make the
        intervals far too narrow.

        Args:
            n_normals: Number of normal images, at least 1.
            bases_by_cell: For each cell, the index of the normal that each of its anomalies was drawn on.
            draws: Bootstrap samples B, at least 1.
            rng: Source of the draws; cells are drawn in the order of the mapping.

        Raises:
            ValueError: A count is below 1.
        """
        plan = cls.draw(n_normals, {cell: len(bases) for cell, bases in bases_by_cell.items()}, draws, rng=rng)
        by_base = {
            cell: _with_their_bases(plan.cells[cell], plan.normals[:, list(bases)])
            for cell, bases in bases_by_cell.items()
        }
        return cls(plan.normals, by_base)

    def cell(self, name: str, normal_scores: npt.ArrayLike, anomaly_scores: npt.ArrayLike) -> Floats:
        """The AUROC of one cell in every bootstrap sample, float64 [B]."""
        return cell_draws(normal_scores, anomaly_scores, self.normals, self.cells[name])


def _with_their_bases(weights: Floats, bases: Floats) -> Floats:
    """Multiplicities [B, m] of anomalies times those of their bases; rows that would sum to zero ignore the bases."""
    joint = weights * bases
    return np.where(joint.sum(axis=1, keepdims=True) > 0, joint, weights)


def _multiplicities(count: int, draws: int, rng: np.random.Generator) -> Floats:
    return rng.multinomial(count, np.full(count, 1 / count), size=draws).astype(np.float64)


def cell_draws(
    normal_scores: npt.ArrayLike,
    anomaly_scores: npt.ArrayLike,
    normal_weights: npt.ArrayLike,
    anomaly_weights: npt.ArrayLike,
) -> Floats:
    """The weighted AUROC of every bootstrap sample.

    Args:
        normal_scores: [n], higher = more anomalous.
        anomaly_scores: [m].
        normal_weights: [B, n], multiplicity of each normal, 0 or more.
        anomaly_weights: [B, m], the same for anomalies.

    Returns:
        float64 [B], 0 to 1: the weighted share of pairs in which the anomaly scores higher, ties counting one half;
        NaN where a row sums to zero.

    Raises:
        ValueError: A score is not finite.
    """
    normal, anomaly = finite_scores(normal_scores), finite_scores(anomaly_scores)
    by_normal, by_anomaly = np.asarray(normal_weights, np.float64), np.asarray(anomaly_weights, np.float64)
    order = np.argsort(normal)
    ranked = Ranked(normal[order], anomaly)
    lowest = np.zeros((len(by_normal), len(normal) + 1))  # the weight of so many normals, from the lowest upwards
    np.cumsum(by_normal[:, order], axis=1, out=lowest[:, 1:])
    won = ((lowest[:, ranked.below] + lowest[:, ranked.at_most]) / 2 * by_anomaly).sum(axis=1)
    pairs = by_normal.sum(axis=1) * by_anomaly.sum(axis=1)
    drawn: Floats = np.divide(won, pairs, out=np.full_like(won, np.nan), where=pairs > 0)
    return drawn


def interval(draws: npt.ArrayLike, level: float = 0.9) -> tuple[float, float]:
    """The central percentile interval of bootstrap draws.

    Args:
        draws: [B], at least one, all finite.
        level: Share of the draws inside, between 0 and 1.

    Returns:
        (low, high).

    Raises:
        ValueError: There are no draws, one is not finite, or ``level`` is out of range.
    """
    values = finite_scores(draws, "draws")
    if not values.size or not 0 < level < 1:
        raise ValueError(f"an interval needs draws and a level between 0 and 1, but got {values.size} and {level}")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def auroc_interval(
    scores: npt.ArrayLike, labels: npt.ArrayLike, rng: np.random.Generator, draws: int = 500, level: float = 0.9
) -> tuple[float, float]:
    """Bootstrap interval of the image AUROC, stratified by class.

    Args:
        scores: [N], higher = more anomalous.
        labels: [N], 1 = anomalous.
        rng: Source of the draws.
        draws: Bootstrap samples.
        level: Share of the samples inside the interval.

    Returns:
        (low, high), each 0 to 1.

    Raises:
        ValueError: Only one class is present or a score is not finite.
    """
    values, marks = finite_scores(scores), np.asarray(labels).astype(bool)
    if marks.all() or not marks.any():
        raise ValueError("an AUROC interval needs normal and anomalous images, but only one kind is present")
    normal, anomaly = values[~marks], values[marks]
    plan = BootstrapPlan.draw(len(normal), {"all": len(anomaly)}, draws, rng=rng)
    return interval(plan.cell("all", normal, anomaly), level)


def spearman(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Spearman's rank correlation; NaN, without a warning, if an argument is constant or has fewer than two values."""
    return _correlation(stats.spearmanr, first, second)


def kendall(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Kendall's tau-b; NaN, without a warning, if an argument is constant or has fewer than two values."""
    return _correlation(stats.kendalltau, first, second)


def _correlation(measure: Callable[[Floats, Floats], Any], first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    left, right = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if min(len(np.unique(left)), len(np.unique(right))) < 2:
        return float("nan")
    return float(measure(left, right).statistic)
