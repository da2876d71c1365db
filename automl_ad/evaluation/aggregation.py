"""Score aggregation: from an anomaly map to one image score.

A trial stores its raw maps, so every aggregation can be applied afterwards without running the detector again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

Maps = npt.NDArray[np.float32]
Scores = npt.NDArray[np.float64]

_NAME = re.compile(r"(?:(?P<max>max)|top(?P<top>[\d.]+)%|pool(?P<pool>\d+))(?:\+sigma(?P<sigma>[\d.]+))?")
LEAST_SHARE = 0.25
"""Share of a map pixel that the mask must cover; if none reaches it, the most covered pixel counts."""


@dataclass(frozen=True)
class ScoreAggregation:
    """How one anomaly map becomes one score.

    Attributes:
        kind: "max" is the highest pixel, "top" the mean of the highest pixels, "pool" the highest mean over a sliding
            window.
        fraction: Share of the map's pixels, above 0 and at most 1, for "top"; at least one pixel is used.
        pool: Side of the window in image pixels, for "pool".
        sigma: Standard deviation, in image pixels, of a Gaussian filter applied before; 0 = none.
    """

    kind: Literal["max", "top", "pool"]
    fraction: float = 0.0
    pool: int = 0
    sigma: float = 0.0

    def __post_init__(self) -> None:
        # Fields that the kind does not use must be zero: equal behaviour then means equal objects and equal names.
        if (self.kind == "top") != (self.fraction != 0) or not 0 <= self.fraction <= 1:
            raise ValueError(f"fraction must be above 0 and at most 1 for 'top' and 0 otherwise, not {self.fraction}")
        if (self.kind == "pool") != (self.pool != 0) or self.pool < 0:
            raise ValueError(f"pool must be at least 1 for 'pool' and 0 otherwise but got {self.pool}")
        if not 0 <= self.sigma < np.inf:
            raise ValueError(f"sigma must be 0 or a positive number of pixels but got {self.sigma}")

    @property
    def name(self) -> str:
        """Short stable name such as "max", "top0.3%" or "pool16+sigma4"; `parse` is the inverse."""
        percent = _shortest(Decimal(repr(float(self.fraction))) * 100)
        body = {"max": "max", "top": f"top{percent}%", "pool": f"pool{self.pool}"}[self.kind]
        return f"{body}+sigma{_shortest(Decimal(repr(float(self.sigma))))}" if self.sigma else body

    @classmethod
    def parse(cls, name: str) -> ScoreAggregation:
        """The aggregation with this name.

        Raises:
            ValueError: The name is not valid.
        """
        match = _NAME.fullmatch(name)
        if match is None:
            raise ValueError(f"{name!r} is not a score aggregation; examples are max, top1%, pool16 and top0.3%+sigma4")
        sigma = float(match["sigma"] or 0)
        if match["top"]:
            return cls("top", fraction=float(Decimal(match["top"]) / 100), sigma=sigma)
        if match["pool"]:
            return cls("pool", pool=int(match["pool"]), sigma=sigma)
        return cls("max", sigma=sigma)


def _shortest(number: Decimal) -> str:
    """Without exponent and without trailing zeros."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


AGGREGATIONS: tuple[ScoreAggregation, ...] = (
    ScoreAggregation("max"),
    ScoreAggregation("top", fraction=0.001),
    ScoreAggregation("top", fraction=0.003),
    ScoreAggregation("top", fraction=0.01),
    ScoreAggregation("top", fraction=0.02),
    ScoreAggregation("top", fraction=0.05),
    ScoreAggregation("top", fraction=0.1),
    ScoreAggregation("top", fraction=0.25),
    ScoreAggregation("pool", pool=16),
    ScoreAggregation("pool", pool=32),
    ScoreAggregation("max", sigma=4),
    ScoreAggregation("top", fraction=0.003, sigma=4),
    ScoreAggregation("top", fraction=0.01, sigma=4),
    ScoreAggregation("top", fraction=0.02, sigma=4),
    ScoreAggregation("top", fraction=0.05, sigma=4),
    ScoreAggregation("pool", pool=16, sigma=4),
)
"""The aggregations that every trial is scored with. The largest shares are for 8 x 8 maps, where 5 % is 3 pixels."""


def score_maps(maps: Maps, aggregation: ScoreAggregation, image_size: tuple[int, int]) -> Scores:
    """Scores maps with one aggregation.

    Args:
        maps: [N, h, w], at the detector's own resolution, higher = more anomalous.
        aggregation: Its window and sigma are in image pixels and are converted to map pixels here.
        image_size: (H, W) of the images that the maps belong to, in pixels.

    Returns:
        float64 [N], on the scale of the maps.
    """
    return score_all(maps, (aggregation,), image_size)[aggregation.name]


def score_all(maps: Maps, aggregations: Iterable[ScoreAggregation], image_size: tuple[int, int]) -> dict[str, Scores]:
    """Scores maps with several aggregations; those that share smoothing or sorting compute it once.

    Args:
        maps: [N, h, w], at the detector's own resolution, higher = more anomalous.
        aggregations: The aggregations to apply.
        image_size: (H, W) of the images that the maps belong to, in pixels.

    Returns:
        Scores, float64 [N], by name of the aggregation, in the order of ``aggregations``.

    Raises:
        ValueError: ``maps`` is not [N, h, w] with at least one pixel.
    """
    if maps.ndim != 3 or not maps.shape[1] * maps.shape[2]:
        raise ValueError(f"maps must be [N, h, w] but got {maps.shape}")
    aggregations = tuple(aggregations)
    scores: dict[str, Scores] = {}
    for sigma in {aggregation.sigma for aggregation in aggregations}:
        group = [each for each in aggregations if each.sigma == sigma]
        scores |= _score_smoothed(smooth(maps, sigma, image_size), group, image_size)
    return {aggregation.name: scores[aggregation.name] for aggregation in aggregations}


def smooth(maps: Maps, sigma: float, image_size: tuple[int, int]) -> Maps:
    """Gaussian smoothing with reflected borders.

    Args:
        maps: [N, h, w].
        sigma: Standard deviation in image pixels; 0 returns the maps as they are.
        image_size: (H, W) of the images that the maps belong to, in pixels.

    Returns:
        float32 [N, h, w].
    """
    if sigma == 0:
        return maps
    rows, columns = _map_pixels(sigma, maps, image_size)
    smoothed: Maps = ndimage.gaussian_filter(maps, (0, rows, columns), output=np.float32)
    return smoothed


def _map_pixels(length: float, maps: Maps, image_size: tuple[int, int]) -> tuple[float, float]:
    """A length in image pixels converted to map pixels, vertically and horizontally."""
    return length * maps.shape[1] / image_size[0], length * maps.shape[2] / image_size[1]


def _score_smoothed(maps: Maps, aggregations: list[ScoreAggregation], image_size: tuple[int, int]) -> dict[str, Scores]:
    counts = [_top_count(aggregation, maps) for aggregation in aggregations if aggregation.kind != "pool"]
    top_means = _top_means(maps, max(counts, default=0))
    return {
        aggregation.name: _pooled_max(maps, aggregation.pool, image_size)
        if aggregation.kind == "pool"
        else top_means[:, _top_count(aggregation, maps) - 1].copy()
        for aggregation in aggregations
    }


def _top_count(aggregation: ScoreAggregation, maps: Maps) -> int:
    """Number of the highest pixels that are averaged; 1 for "max"."""
    pixels: int = maps.shape[1] * maps.shape[2]
    return max(1, round(aggregation.fraction * pixels))


def _top_means(maps: Maps, count: int) -> Scores:
    """float64 [N, count]: column k holds the mean of the k+1 highest pixels of each map."""
    flat = maps.reshape(len(maps), maps.shape[1] * maps.shape[2])
    pixels = flat.shape[1]
    highest = np.partition(flat, pixels - count, axis=1)[:, pixels - count :] if 0 < count < pixels else flat
    descending = -np.sort(-highest.astype(np.float64), axis=1)
    means: Scores = np.cumsum(descending, axis=1) / np.arange(1, descending.shape[1] + 1)
    return means


def _pooled_max(maps: Maps, pool: int, image_size: tuple[int, int]) -> Scores:
    """The highest mean over all windows that lie inside the map."""
    rows, columns = _map_pixels(pool, maps, image_size)
    averaged = _window_mean(_window_mean(maps.astype(np.float64), rows, 1), columns, 2)
    highest: Scores = averaged.max(axis=(1, 2))
    return highest


def _window_mean(values: Scores, length: float, axis: int) -> Scores:
    # Summed slice by slice: with a running sum, one huge score would cost its neighbours their precision.
    window = min(max(1, round(length)), values.shape[axis])
    kept = values.shape[axis] - window + 1
    total = np.zeros_like(np.take(values, range(kept), axis))
    for start in range(window):
        total += values[:, start : start + kept] if axis == 1 else values[:, :, start : start + kept]
    total /= window
    return total


def localisation_scores(maps: npt.NDArray[np.float32], masks: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """The highest value of each map on its anomaly.

    An image score may be high because of noise elsewhere on the image. The localisation AUROC compares the values on
    the anomaly itself with the maxima of good images, so that a noisy detector gains nothing.

    Args:
        maps: [N, h, w], at the detector's own resolution, higher = more anomalous.
        masks: bool [N, H, W], each with at least one True: where the anomaly is on the image.

    Returns:
        float64 [N], on the scale of the maps.
    """
    size = (maps.shape[2], maps.shape[1])
    found = np.empty(len(maps))
    for row, (values, mask) in enumerate(zip(maps, masks, strict=True)):
        covered = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        found[row] = values[covered >= min(LEAST_SHARE, float(covered.max()))].max()
    return found
