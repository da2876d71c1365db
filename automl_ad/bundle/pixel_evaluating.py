"""What the maps of a bundle are worth, pixel by pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from automl_ad.evaluation.intervals import interval
from automl_ad.evaluation.metrics import pixel_metrics
from automl_ad.evaluation.resampled import aupro_draws, auroc_draws, average_precision_draws, quantile_edges

Map = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
_Floats = npt.NDArray[np.float64]

_KEYS = ("pixel_auroc", "pixel_ap", "aupro", "iap", "iap90")
# IAP takes the running maximum of a precision over its regions: binned, that maximum would be of noise between bins.
_WITH_INTERVAL = _KEYS[:3]


@dataclass(frozen=True)
class MarkedPixels:
    """What a threshold on pixels marks on one image.

    Attributes:
        share: Share of the pixels that is marked, 0 to 1.
        iou: Marked and defective pixels over marked or defective ones; None where no pixel is known to be defective.
    """

    share: float
    iou: float | None


def mark(anomaly_map: Map, mask: Mask | None, value: float) -> MarkedPixels:
    """Marks the pixels above ``value``.

    Args:
        anomaly_map: [H, W].
        mask: [H, W], True = defective, or None where that is not known.
        value: The threshold, on the raw scale of the maps.
    """
    marked = anomaly_map > value
    iou = None
    if mask is not None and mask.any():
        iou = float((marked & mask).sum() / (marked | mask).sum())
    return MarkedPixels(float(marked.mean()), iou)


def pixel_figures(maps: Sequence[Map], masks: Sequence[Mask], weights: _Floats) -> dict[str, Any]:
    """Pixel metrics, and intervals of those that a bootstrap over images gives cheaply.

    Args:
        maps: One [H, W] an image.
        masks: One [H, W] an image, True = defective.
        weights: [B, N], how often each image counts in each bootstrap sample.

    Returns:
        ``pixel_auroc``, ``pixel_ap``, ``aupro``, ``iap`` and ``iap90``, and ``<key>_interval`` of the first three;
        all None when no pixel is defective.
    """
    if not any(mask.any() for mask in masks):
        return dict.fromkeys((*_KEYS, *(f"{key}_interval" for key in _WITH_INTERVAL)))
    found = pixel_metrics(np.stack(maps), np.stack(masks))
    values = (found.auroc, found.ap, found.aupro, found.iap, found.iap_at_90)
    return dict(zip(_KEYS, values, strict=True)) | _intervals(maps, masks, weights)


def mean_interval(values: Sequence[float], weights: _Floats) -> list[float] | None:
    """Bootstrap interval of a mean over images; None for no images.

    Args:
        values: One an image.
        weights: [B, N], how often each image counts in each sample; samples without any image are left out.
    """
    totals = weights.sum(axis=1)
    drawn = (weights @ np.asarray(values, np.float64))[totals > 0] / totals[totals > 0]
    return list(interval(drawn)) if len(drawn) else None


def _intervals(maps: Sequence[Map], masks: Sequence[Mask], weights: _Floats) -> dict[str, list[float]]:
    # Sorting the pixels anew in each sample would take minutes. Counted into bins once, image by image, the samples are
    # a product of matrices, at about a second for a hundred images.
    edges = quantile_edges(np.concatenate([each[mask] for each, mask in zip(maps, masks, strict=True)]))
    counts = [_counts(each, mask, edges) for each, mask in zip(maps, masks, strict=True)]
    normal, anomalous, overlap = (weights @ np.stack(part) for part in zip(*counts, strict=True))
    draws = auroc_draws(normal, anomalous), average_precision_draws(normal, anomalous), aupro_draws(normal, overlap)
    # A sample may hold none of the defects that have a mask.
    return {
        f"{key}_interval": list(interval(drawn[np.isfinite(drawn)]))
        for key, drawn in zip(_WITH_INTERVAL, draws, strict=True)
    }


def _counts(anomaly_map: Map, mask: Mask, edges: npt.NDArray[Any]) -> tuple[_Floats, _Floats, _Floats]:
    """Normal pixels, anomalous pixels and shares of regions in each bin, each float64 [K]."""
    count = len(edges) + 1
    bins = np.searchsorted(edges, anomaly_map, side="right")
    regions = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[1][mask]
    shares = 1 / np.bincount(regions)[regions]
    return (
        np.bincount(bins[~mask], minlength=count).astype(np.float64),
        np.bincount(bins[mask], minlength=count).astype(np.float64),
        np.bincount(bins[mask], shares, count).astype(np.float64),
    )
