"""Rules that turn an anomaly map into one image score.

A trial stores its raw maps, so every rule here can be tried afterwards without running the detector again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Maps = npt.NDArray[np.float32]
Scores = npt.NDArray[np.float64]

_NAME = re.compile(r"(?:(?P<max>max)|top(?P<top>[\d.]+)%|pool(?P<pool>\d+))(?:\+sigma(?P<sigma>[\d.]+))?")


@dataclass(frozen=True)
class ScoreAggregation:
    """How one anomaly map becomes one score.

    Attributes:
        kind: "max" takes the highest pixel, "top" the mean of the highest pixels, "pool" the highest average over a
            sliding window.
        fraction: Of the map's pixels, above 0 and at most 1, for "top"; at least one pixel is always taken.
        pool: Side of the window in image pixels, for "pool".
        sigma: Standard deviation, in image pixels, of a Gaussian smoothing beforehand; 0 = none.
    """

    kind: Literal["max", "top", "pool"]
    fraction: float = 0.0
    pool: int = 0
    sigma: float = 0.0

    def __post_init__(self) -> None:
        # A rule carries only what its kind uses: equal behaviour then means equal rules and equal names.
        if (self.kind == "top") != (self.fraction != 0) or not 0 <= self.fraction <= 1:
            raise ValueError(f"fraction must be above 0 and at most 1 for 'top' and 0 otherwise, not {self.fraction}")
        if (self.kind == "pool") != (self.pool != 0) or self.pool < 0:
            raise ValueError(f"pool must be at least 1 for 'pool' and 0 otherwise but got {self.pool}")
        if not 0 <= self.sigma < np.inf:
            raise ValueError(f"sigma must be 0 or a positive number of pixels but got {self.sigma}")

    @property
    def name(self) -> str:
        """Short and stable, e.g. "max", "top0.3%" or "pool16+sigma4"; `parse` reads it back."""
        percent = _shortest(Decimal(repr(float(self.fraction))) * 100)
        body = {"max": "max", "top": f"top{percent}%", "pool": f"pool{self.pool}"}[self.kind]
        return f"{body}+sigma{_shortest(Decimal(repr(float(self.sigma))))}" if self.sigma else body

    @classmethod
    def parse(cls, name: str) -> ScoreAggregation:
        """The rule that has this name.

        Raises:
            ValueError: No rule has such a name.
        """
        match = _NAME.fullmatch(name)
        if match is None:
            raise ValueError(f"{name!r} is not a scoring rule; examples are max, top1%, pool16 and top0.3%+sigma4")
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
"""The rules that every trial is judged by. The largest shares serve maps of 8 x 8, where 5 % is three positions."""


def score_maps(maps: Maps, rule: ScoreAggregation, image_size: tuple[int, int]) -> Scores:
    """Scores maps by one rule.

    Args:
        maps: [N, h, w], at the detector's own resolution, higher = more anomalous.
        rule: The rule; its window and sigma are in image pixels and are converted to map pixels here.
        image_size: (H, W) of the images that the maps belong to, in pixels.

    Returns:
        float64 [N], on the scale of the maps.
    """
    return score_all(maps, (rule,), image_size)[rule.name]


def score_all(maps: Maps, rules: Iterable[ScoreAggregation], image_size: tuple[int, int]) -> dict[str, Scores]:
    """Scores maps by several rules, smoothing and sorting once for all that share it.

    Args:
        maps: [N, h, w], at the detector's own resolution, higher = more anomalous.
        rules: The rules to apply.
        image_size: (H, W) of the images that the maps belong to, in pixels.

    Returns:
        For each rule's name its scores, float64 [N], in the order of ``rules``.

    Raises:
        ValueError: ``maps`` is not [N, h, w] with at least one pixel.
    """
    if maps.ndim != 3 or not maps.shape[1] * maps.shape[2]:
        raise ValueError(f"maps must be [N, h, w] but got {maps.shape}")
    rules = tuple(rules)
    scores: dict[str, Scores] = {}
    for sigma in {rule.sigma for rule in rules}:
        scores |= _score_smoothed(smooth(maps, sigma, image_size), [r for r in rules if r.sigma == sigma], image_size)
    return {rule.name: scores[rule.name] for rule in rules}


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
    """A length in image pixels as map pixels, down and across."""
    return length * maps.shape[1] / image_size[0], length * maps.shape[2] / image_size[1]


def _score_smoothed(maps: Maps, rules: list[ScoreAggregation], image_size: tuple[int, int]) -> dict[str, Scores]:
    counts = [_top_count(rule, maps) for rule in rules if rule.kind != "pool"]
    top_means = _top_means(maps, max(counts, default=0))
    return {
        rule.name: _pooled_max(maps, rule.pool, image_size)
        if rule.kind == "pool"
        else top_means[:, _top_count(rule, maps) - 1].copy()
        for rule in rules
    }


def _top_count(rule: ScoreAggregation, maps: Maps) -> int:
    """How many of the highest pixels the rule averages; "max" is the case of one."""
    pixels: int = maps.shape[1] * maps.shape[2]
    return max(1, round(rule.fraction * pixels))


def _top_means(maps: Maps, count: int) -> Scores:
    """float64 [N, count]: column k holds the mean of the k+1 highest pixels of each map."""
    flat = maps.reshape(len(maps), maps.shape[1] * maps.shape[2])
    pixels = flat.shape[1]
    highest = np.partition(flat, pixels - count, axis=1)[:, pixels - count :] if 0 < count < pixels else flat
    descending = -np.sort(-highest.astype(np.float64), axis=1)
    means: Scores = np.cumsum(descending, axis=1) / np.arange(1, descending.shape[1] + 1)
    return means


def _pooled_max(maps: Maps, pool: int, image_size: tuple[int, int]) -> Scores:
    """The highest average over windows that lie wholly inside the map, moved pixel by pixel."""
    rows, columns = _map_pixels(pool, maps, image_size)
    averaged = _window_mean(_window_mean(maps.astype(np.float64), rows, 1), columns, 2)
    highest: Scores = averaged.max(axis=(1, 2))
    return highest


def _window_mean(values: Scores, length: float, axis: int) -> Scores:
    # Added slice by slice: a running sum would let one huge score spoil its neighbours by cancellation.
    window = min(max(1, round(length)), values.shape[axis])
    kept = values.shape[axis] - window + 1
    total = np.zeros_like(np.take(values, range(kept), axis))
    for start in range(window):
        total += values[:, start : start + kept] if axis == 1 else values[:, :, start : start + kept]
    total /= window
    return total
