"""Exact rank metrics on raw, unbounded anomaly scores, for images and for pixels.

Every metric sorts the normal scores once and looks the anomalous scores up in them. That is exact with ties, needs no
list of thresholds and uses the raw scores: a sigmoid or a clamp would create ties.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
Integers = npt.NDArray[np.int64]


def finite_scores(values: npt.ArrayLike, name: str = "scores") -> Floats:
    """The values as a float32 or float64 array of the same shape.

    Args:
        values: Numbers of any shape.
        name: Name of the values in the error.

    Raises:
        ValueError: A value is not a number or is infinite: it has no place in a ranking.
    """
    array: Floats = np.asarray(values)
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float64)
    # min and max propagate NaN and infinity, and need no boolean array as large as the scores.
    if array.size and not (np.isfinite(array.min()) and np.isfinite(array.max())):
        raise ValueError(f"{name} must be finite numbers, but at least one is NaN or infinite")
    return array


@dataclass(frozen=True)
class Ranked:
    """Anomalous scores ranked among normal ones: what every AUROC is computed from, here and elsewhere.

    Nothing is checked: whoever cannot vouch for the scores calls `auroc` or one of the metrics.

    Attributes:
        normal: [n], sorted ascending.
        anomalous: [m], in the order of the input.
    """

    normal: Floats
    anomalous: Floats

    @classmethod
    def of(cls, normal: Floats, anomalous: Floats) -> Ranked:
        """Sorts the normal scores."""
        return cls(np.sort(normal), anomalous)

    @cached_property
    def sorted_anomalous(self) -> Floats:
        """The anomalous scores, ascending."""
        return np.sort(self.anomalous)

    @cached_property
    def below(self) -> Integers:
        """For each anomalous score, in input order, the number of normal scores strictly below it."""
        return self._look_up("left")

    @cached_property
    def at_most(self) -> Integers:
        """For each anomalous score, in input order, the number of normal scores below or equal to it."""
        return self._look_up("right")

    @property
    def wins(self) -> npt.NDArray[np.float64]:
        """For each anomalous score, in input order, the number of normal scores below it, a tie counting one half."""
        return (self.below + self.at_most) / 2

    @property
    def auroc(self) -> float:
        """Probability that an anomalous score is above a normal one; a tie counts one half. Needs both kinds."""
        # Sums of whole and half numbers are exact for any number of pixels that fits into memory.
        return float(self.wins.sum()) / (len(self.normal) * len(self.anomalous))

    @cached_property
    def _ascending(self) -> Integers:
        return np.argsort(self.anomalous)

    def _look_up(self, side: Any) -> Integers:
        # Looking up in ascending order accesses memory sequentially: many times faster on millions of pixels.
        counts = np.empty(len(self.anomalous), dtype=np.int64)
        counts[self._ascending] = np.searchsorted(self.normal, self.anomalous[self._ascending], side=side)
        return counts


def auroc(normal: npt.ArrayLike, anomalous: npt.ArrayLike) -> float:
    """`image_auroc` of scores that come apart by class.

    Args:
        normal: [n], higher = more anomalous.
        anomalous: [m].

    Raises:
        ValueError: There is no score of one class, or one is not finite.
    """
    return _ranked(finite_scores(normal), finite_scores(anomalous), "images").auroc


def image_auroc(scores: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Probability that an anomalous image scores above a normal one; a tie counts one half.

    Args:
        scores: [N], higher = more anomalous.
        labels: [N], 1 = anomalous, 0 = normal.

    Returns:
        The area under the ROC curve, 0 to 1.

    Raises:
        ValueError: Only one class is present, a score is not finite, or the shapes differ.
    """
    return _ranked_images(scores, labels).auroc


def image_ap(scores: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Average precision over images: the sum over distinct thresholds of recall gained times precision.

    Args:
        scores: [N], higher = more anomalous.
        labels: [N], 1 = anomalous, 0 = normal.

    Returns:
        The average precision, 0 to 1; chance is the share of anomalous images.

    Raises:
        ValueError: Only one class is present, a score is not finite, or the shapes differ.
    """
    return _average_precision(_ranked_images(scores, labels))


def pixel_auroc(maps: npt.ArrayLike, masks: npt.ArrayLike) -> float:
    """Area under the ROC curve over the pixels of all images pooled.

    Args:
        maps: [N, H, W], higher = more anomalous.
        masks: bool [N, H, W], True = anomalous.

    Raises:
        ValueError: Only one class of pixel is present, a score is not finite, or the shapes differ.
    """
    return _ranked_pixels(maps, masks).auroc


def pixel_ap(maps: npt.ArrayLike, masks: npt.ArrayLike) -> float:
    """Average precision over the pixels of all images pooled; arguments and errors as for `pixel_auroc`."""
    return _average_precision(_ranked_pixels(maps, masks))


def aupro(maps: npt.ArrayLike, masks: npt.ArrayLike, max_fpr: float = 0.3) -> float:
    """Area under the per-region overlap curve up to a pixel false positive rate, divided by that rate.

    The overlap at a threshold is the share of a region's pixels at or above it, averaged over all 8-connected regions,
    so that a small defect counts as much as a large one (Bergmann et al., MVTec AD, IJCV 2021). The true region is
    used, holes excluded. The curve is linear between neighbouring distinct thresholds and is cut exactly at
    ``max_fpr``.

    Args:
        maps: [N, H, W], higher = more anomalous.
        masks: bool [N, H, W], True = anomalous.
        max_fpr: Upper limit of integration, above 0 and at most 1.

    Returns:
        The normalised area, 0 to 1.

    Raises:
        ValueError: Only one class of pixel is present, a score is not finite, the shapes differ, or ``max_fpr`` is
            out of range.
    """
    return _aupro(_ranked_pixels(maps, masks), _regions(masks), max_fpr)


def iap(maps: npt.ArrayLike, masks: npt.ArrayLike) -> tuple[float, float]:
    """Instance average precision, and the precision at an instance recall of 90 % (DeSTSeg, CVPR 2023).

    An instance is an 8-connected region; a threshold finds it when more than half of its pixels score at or above it.
    Precision counts pixels over the whole set and is made non-decreasing with the threshold.

    Args:
        maps: [N, H, W], higher = more anomalous.
        masks: bool [N, H, W], True = anomalous.

    Returns:
        (IAP, IAP@90), each 0 to 1.

    Raises:
        ValueError: Only one class of pixel is present, a score is not finite, or the shapes differ.
    """
    return _iap(_ranked_pixels(maps, masks), _regions(masks))


@dataclass(frozen=True)
class PixelMetrics:
    """All pixel metrics of one set of maps, each 0 to 1."""

    auroc: float
    ap: float
    aupro: float
    iap: float
    iap_at_90: float


def pixel_metrics(maps: npt.ArrayLike, masks: npt.ArrayLike, max_fpr: float = 0.3) -> PixelMetrics:
    """All pixel metrics with one sort; arguments and errors as for `aupro`."""
    ranked, regions = _ranked_pixels(maps, masks), _regions(masks)
    return PixelMetrics(
        ranked.auroc, _average_precision(ranked), _aupro(ranked, regions, max_fpr), *_iap(ranked, regions)
    )


def resize_maps(maps: npt.ArrayLike, size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Resizes anomaly maps bilinearly, with half-pixel centres and replicated borders.

    Args:
        maps: [N, h, w].
        size: (H, W) of the result, in pixels.

    Returns:
        float32 [N, H, W].
    """
    source = np.asarray(maps, dtype=np.float32)
    resized = np.empty((len(source), *size), dtype=np.float32)
    for index, single in enumerate(source):
        resized[index] = cv2.resize(single, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    return resized


def _ranked(normal: Floats, anomalous: Floats, unit: str) -> Ranked:
    if not len(normal) or not len(anomalous):
        raise ValueError(f"the metric needs normal and anomalous {unit}, but only one kind is present")
    return Ranked.of(normal, anomalous)


def _ranked_images(scores: npt.ArrayLike, labels: npt.ArrayLike) -> Ranked:
    values, marks = finite_scores(scores), np.asarray(labels)
    if values.ndim != 1 or values.shape != marks.shape:
        raise ValueError(f"scores and labels must be two vectors of one length but got {values.shape}, {marks.shape}")
    if not np.isin(marks, (0, 1)).all():
        raise ValueError("labels must be 0 (normal) or 1 (anomalous)")
    anomalous = marks.astype(bool)
    return _ranked(values[~anomalous], values[anomalous], "images")


def _ranked_pixels(maps: npt.ArrayLike, masks: npt.ArrayLike) -> Ranked:
    values, marks = finite_scores(maps, "maps"), np.asarray(masks)
    if values.ndim != 3 or values.shape != marks.shape:
        raise ValueError(f"maps and masks must both be [N, H, W] but got {values.shape} and {marks.shape}")
    if marks.dtype != np.bool_:
        raise ValueError(f"masks must be bool with True = anomalous but got {marks.dtype}")
    return _ranked(values[~marks], values[marks], "pixels")


def _precision(ranked: Ranked, thresholds: Floats) -> npt.NDArray[np.float64]:
    """Share of anomalous scores among all at or above each threshold."""
    hits = len(ranked.anomalous) - np.searchsorted(ranked.sorted_anomalous, thresholds, side="left")
    alarms = len(ranked.normal) - np.searchsorted(ranked.normal, thresholds, side="left")
    precision: npt.NDArray[np.float64] = hits / (hits + alarms)
    return precision


def _average_precision(ranked: Ranked) -> float:
    # Recall changes only at thresholds that equal an anomalous score.
    thresholds, counts = np.unique(ranked.sorted_anomalous, return_counts=True)
    return float(np.dot(counts, _precision(ranked, thresholds)) / len(ranked.anomalous))


@dataclass(frozen=True)
class _Regions:
    """The region, 0 to count-1, of each anomalous pixel in the order of ``maps[masks]``, and the region sizes."""

    index: Integers
    sizes: Integers


def _regions(masks: npt.ArrayLike) -> _Regions:
    found: list[Integers] = []
    count = 0
    for mask in np.asarray(masks):
        regions, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
        found.append(labels[mask].astype(np.int64) - 1 + count)
        count += regions - 1
    index = np.concatenate(found)
    return _Regions(index, np.bincount(index, minlength=count).astype(np.int64))


def _aupro(ranked: Ranked, regions: _Regions, max_fpr: float) -> float:
    """Sums the contribution of each anomalous pixel to the area under the overlap curve.

    With a falling threshold, a pixel starts to count at the false positive rate of the scores above it (``start``) and
    counts fully when its ties are included (``end``); between the two the curve is linear.
    """
    if not 0 < max_fpr <= 1:
        raise ValueError(f"max_fpr must be above 0 and at most 1 but got {max_fpr}")
    start = 1 - ranked.at_most / len(ranked.normal)
    end = 1 - ranked.below / len(ranked.normal)
    ramp = end - start
    climbed = np.clip(max_fpr - start, 0, ramp)
    on_ramp = np.divide(climbed**2, 2 * ramp, out=np.zeros_like(ramp), where=ramp > 0)
    area = on_ramp + np.maximum(max_fpr - end, 0)
    return float(np.dot(area, 1 / regions.sizes[regions.index]) / (len(regions.sizes) * max_fpr))


def _iap(ranked: Ranked, regions: _Regions) -> tuple[float, float]:
    thresholds = np.sort(_instance_scores(ranked.anomalous, regions))
    precision = np.maximum.accumulate(_precision(ranked, thresholds))
    # The i-th lowest threshold recalls 1 - i/N of the instances; integer division avoids rounding at exactly 90 %.
    return float(precision.mean()), float(precision[len(precision) // 10])


def _instance_scores(scores: Floats, regions: _Regions) -> Floats:
    """For each region the highest threshold at which more than half of its pixels are found."""
    order = np.lexsort((-scores, regions.index))
    firsts = np.cumsum(regions.sizes) - regions.sizes
    picked: Floats = scores[order][firsts + regions.sizes // 2]
    return picked
