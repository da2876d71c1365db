"""Calibration data of a bundle: out-of-fold scores and pixel values of good images, from which guarantees follow."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from automl_ad.evaluation.aggregation import ScoreAggregation
from automl_ad.evaluation.metrics import finite_scores, resize_maps
from automl_ad.methods.base import Detector

LEVELS = 256
"""Number of map values at which the share of normal pixels above is stored."""
_HIGHEST_SHARE, _LOWEST_SHARE = 0.5, 1e-6
_SAMPLED = 2_000_000
"""Pixels sampled to choose these values; the shares are then counted over all pixels."""
_BLOCK = 64
"""Maps enlarged at a time; bounds the memory."""

Floats = npt.NDArray[np.float64]
Maps = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Calibration:
    """Out-of-fold scores and pixel statistics of good images: each was scored by a detector not fitted to it.

    Attributes:
        scores: float64 [n], one per image.
        pixel_shares: float64 [k], descending, 0 to 1.
        pixel_values: float64 [k], ascending; the share of all pixels above ``pixel_values[i]`` is ``pixel_shares[i]``.
    """

    scores: Floats
    pixel_shares: Floats
    pixel_values: Floats

    @classmethod
    def of(cls, scores: npt.ArrayLike, maps: Maps, size: tuple[int, int]) -> Calibration:
        """Computes the calibration; pixels are counted at the working size, at which a bundle marks them.

        Args:
            scores: [n], out-of-fold scores of distinct good images.
            maps: [n, h, w], their out-of-fold maps.
            size: (height, width) of the working size.

        Raises:
            ValueError: There are no scores, they are not a vector, or one is not finite.
        """
        checked = finite_scores(scores, "calibration scores").astype(np.float64)
        if checked.ndim != 1 or not len(checked):
            raise ValueError(f"a bundle needs a vector of calibration scores but got shape {checked.shape}")
        values = _candidates(maps)
        return cls(checked, _shares_above(values, maps, size), values)

    def moved(self, scores: npt.ArrayLike, before: Maps, after: Maps) -> Calibration:
        """The calibration of a graph in another precision, without running the folds again.

        Args:
            scores: [n], change of each image's score by the precision.
            before, after: [m, H, W], maps of good images in fp32 and in the new precision; each pixel value is shifted
                by the change of the quantile at its share.
        """
        levels = 1 - self.pixel_shares
        added = np.quantile(after, levels) - np.quantile(before, levels)
        values = np.maximum.accumulate(self.pixel_values + added)
        return Calibration(self.scores + np.asarray(scores, np.float64), self.pixel_shares, values)

    def encode(self) -> bytes:
        """The content of ``calibration.json``; floats round-trip exactly."""
        content = {
            "scores": self.scores.tolist(),
            "pixel_shares": self.pixel_shares.tolist(),
            "pixel_values": self.pixel_values.tolist(),
        }
        return json.dumps(content, allow_nan=False).encode() + b"\n"


def _candidates(maps: Maps) -> Floats:
    """Distinct ascending quantiles of the upper half of the pixels, geometrically spaced towards the highest."""
    flat = maps.reshape(-1)
    shares = np.geomspace(_HIGHEST_SHARE, _LOWEST_SHARE, LEVELS)
    # Enlarging interpolates, so no enlarged pixel exceeds the maximum of the maps: that value ends the table.
    return np.unique(np.append(np.quantile(flat[:: 1 + len(flat) // _SAMPLED], 1 - shares), flat.max()).astype(float))


def _shares_above(values: Floats, maps: Maps, size: tuple[int, int]) -> Floats:
    above, count = np.zeros(len(values)), 0
    for pixels in _enlarged(maps, size):
        places = np.searchsorted(values, pixels, side="left")  # number of values below each pixel
        reached = np.bincount(places, minlength=len(values) + 1)
        above += np.cumsum(reached[::-1])[::-1][1:]
        count += pixels.size
    return np.asarray(above / count, np.float64)


def _enlarged(maps: Maps, size: tuple[int, int]) -> Iterator[Floats]:
    for start in range(0, len(maps), _BLOCK):
        yield resize_maps(maps[start : start + _BLOCK], size).astype(np.float64).reshape(-1)


@dataclass(frozen=True)
class CalibratedDetector:
    """A candidate refitted on all normals, with what its guarantees are computed from.

    Attributes:
        detector: Fitted on every normal of the study.
        rule: How its maps become scores.
        calibration: Of the distinct normals, out of fold.
        rows: Which normals these are.
        map_range: Middle (0.5) and top (0.999) quantile of the normals' out-of-fold maps, to colour heatmaps by.
    """

    detector: Detector
    rule: ScoreAggregation
    calibration: Calibration
    rows: npt.NDArray[np.int64]
    map_range: tuple[float, float]
