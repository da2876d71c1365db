"""Rank metrics of all bootstrap samples at once, from weights in ascending bins of the score.

A bootstrap sample is a weight per image, so scores are sorted once for all samples: the weight of a bin is the sum over
the images in it. Scores within a bin count as ties. With one bin per distinct score the metrics are exact; with bins
between quantiles of the anomalous scores their error is about one over the number of bins.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from automl_ad.evaluation.intervals import cell_draws

Floats = npt.NDArray[np.float64]
_Values = npt.NDArray[np.floating[Any]]
_Indices = npt.NDArray[np.integer[Any]]

BINS = 2048
"""Number of bins of pixel scores; enough for three digits."""


def binned(weights: Floats, bins: _Indices, count: int) -> Floats:
    """Sums weights by bin.

    Args:
        weights: [B, n], multiplicity of each image in each sample.
        bins: [n], the bin of each image's score, 0 to ``count`` - 1.
        count: Number of bins.

    Returns:
        float64 [B, count].
    """
    return np.stack([np.bincount(bins, row, count) for row in weights])


def quantile_edges(anomalous: _Values, count: int = BINS) -> _Values:
    """Ascending distinct bin edges with about equally many anomalous scores between them, for ``np.searchsorted``.

    With quantiles of all scores, rare anomalies would nearly all fall into one bin.

    Args:
        anomalous: [m], scores, at least one.
        count: Maximum number of edges.
    """
    ascending = np.sort(anomalous)
    places = np.linspace(0, len(ascending) - 1, min(count, len(ascending))).round().astype(np.int64)
    return np.unique(ascending[places])


def auroc_draws(normal: Floats, anomalous: Floats) -> Floats:
    """The area under the ROC curve of every sample, float64 [B].

    Args:
        normal: [B, K], weight of the normals in each bin.
        anomalous: [B, K], the same for anomalies; the result is NaN where a row of either sums to zero.
    """
    levels = np.arange(normal.shape[1], dtype=np.float64)
    return cell_draws(levels, levels, normal, anomalous)


def average_precision_draws(normal: Floats, anomalous: Floats) -> Floats:
    """The average precision of every sample, float64 [B]; arguments as for `auroc_draws`."""
    alarms, hits = _from_above(normal), _from_above(anomalous)
    gained = anomalous * _ratio(hits, alarms + hits, otherwise=0)
    return _ratio(gained.sum(axis=1), anomalous.sum(axis=1))


def aupro_draws(normal: Floats, overlap: Floats, max_fpr: float = 0.3) -> Floats:
    """The area under the per-region overlap curve of every sample, divided by ``max_fpr``; float64 [B].

    Args:
        normal: [B, K], weight of the normal pixels in each bin; each row has a positive sum.
        overlap: [B, K], weight of the regions, each distributed over the bins by its pixels; the result is NaN where a
            row sums to zero.
        max_fpr: Upper limit of integration, above 0 and at most 1.
    """
    end = _from_above(normal) / normal.sum(axis=1, keepdims=True)
    ramp = normal / normal.sum(axis=1, keepdims=True)
    # Within a bin the curve is a straight line, as in `automl_ad.evaluation.metrics.aupro`.
    climbed = np.clip(max_fpr - (end - ramp), 0, ramp)
    area = _ratio(climbed**2, 2 * ramp, otherwise=0) + np.maximum(max_fpr - end, 0)
    return _ratio((overlap * area).sum(axis=1), overlap.sum(axis=1) * max_fpr)


def _from_above(weights: Floats) -> Floats:
    """The weight at or above each bin."""
    return np.cumsum(weights[:, ::-1], axis=1)[:, ::-1]


def _ratio(over: Floats, under: Floats, otherwise: float = np.nan) -> Floats:
    quotient: Floats = np.divide(over, under, out=np.full_like(over, otherwise), where=under > 0)
    return quotient
