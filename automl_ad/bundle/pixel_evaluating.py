"""Pixel metrics of a bundle's maps."""

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
# IAP is a running maximum of precision over regions; with binned scores that maximum would follow the binning noise.
_WITH_INTERVAL = _KEYS[:3]


@dataclass(frozen=True)
class MarkedPixels:
    """The pixels of one image above the mask threshold.

    Attributes:
        share: Share of the pixels that are marked, 0 to 1.
        iou: Intersection over union of marked and defective pixels; None if no pixel is known to be defective.
    """

    share: float
    iou: float | None


def mark(anomaly_map: Map, mask: Mask | None, value: float) -> MarkedPixels:
    """Marks the pixels above ``value``.

    Args:
        anomaly_map: [H, W].
        mask: bool [H, W], True = defective; None if unknown.
        value: The threshold, on the raw scale of the maps.
    """
    marked = anomaly_map > value
    iou = None
    if mask is not None and mask.any():
        iou = float((marked & mask).sum() / (marked | mask).sum())
    return MarkedPixels(float(marked.mean()), iou)


def pixel_figures(maps: Sequence[Map], masks: Sequence[Mask], weights: _Floats) -> dict[str, Any]:
    """Pixel metrics, with intervals for those whose bootstrap over images is cheap.

    Args:
        maps: N maps, each float32 [H, W].
        masks: N masks, each bool [H, W], True = defective.
        weights: [B, N], multiplicity of each image in each bootstrap sample.

    Returns:
        ``pixel_auroc``, ``pixel_ap``, ``aupro``, ``iap`` and ``iap90``, and ``<key>_interval`` of the first three;
        all None if no pixel is defective.
    """
    if not any(mask.any() for mask in masks):
        return dict.fromkeys((*_KEYS, *(f"{key}_interval" for key in _WITH_INTERVAL)))
    found = pixel_metrics(np.stack(maps), np.stack(masks))
    values = (found.auroc, found.ap, found.aupro, found.iap, found.iap_at_90)
    return dict(zip(_KEYS, values, strict=True)) | _intervals(maps, masks, weights)


def mean_interval(values: Sequence[float], weights: _Floats) -> list[float] | None:
    """Bootstrap interval of a mean over images; None without images.

    Args:
        values: N values, one per image.
        weights: [B, N], multiplicity of each image in each sample; samples without any of the images are left out.
    """
    totals = weights.sum(axis=1)
    drawn = (weights @ np.asarray(values, np.float64))[totals > 0] / totals[totals > 0]
    return list(interval(drawn)) if len(drawn) else None


def _intervals(maps: Sequence[Map], masks: Sequence[Mask], weights: _Floats) -> dict[str, list[float]]:
    # Sorting the pixels of each sample would take minutes. With per-image histograms the samples are one matrix
    # product, about a second for a hundred images.
    edges = quantile_edges(np.concatenate([each[mask] for each, mask in zip(maps, masks, strict=True)]))
    counts = [_counts(each, mask, edges) for each, mask in zip(maps, masks, strict=True)]
    normal, anomalous, overlap = (weights @ np.stack(part) for part in zip(*counts, strict=True))
    draws = auroc_draws(normal, anomalous), average_precision_draws(normal, anomalous), aupro_draws(normal, overlap)
    # A sample may contain none of the defects that have a mask.
    return {
        f"{key}_interval": list(interval(drawn[np.isfinite(drawn)]))
        for key, drawn in zip(_WITH_INTERVAL, draws, strict=True)
    }


def _counts(anomaly_map: Map, mask: Mask, edges: npt.NDArray[Any]) -> tuple[_Floats, _Floats, _Floats]:
    """Normal pixels, anomalous pixels and shares of regions per bin, each float64 [K]."""
    count = len(edges) + 1
    bins = np.searchsorted(edges, anomaly_map, side="right")
    regions = np.asarray(cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[1], np.int32)[mask]
    shares = 1 / np.bincount(regions)[regions]
    return (
        np.bincount(bins[~mask], minlength=count).astype(np.float64),
        np.bincount(bins[mask], minlength=count).astype(np.float64),
        np.bincount(bins[mask], shares, count).astype(np.float64),
    )
