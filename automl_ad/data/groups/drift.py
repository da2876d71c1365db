"""Finds a drift of images over time: a steady change of light, sharpness or appearance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata, spearmanr
from sklearn.decomposition import PCA

from automl_ad.data.groups.descriptions import Descriptions, Floats
from automl_ad.data.groups.file_facts import FileFacts

_FEWEST = 12
_SHORTEST = 60.0
"""Seconds that the files must span."""
_COPYING = 1.0
"""Median seconds between two files, below which the times are those of a copy, in whatever order it was made."""
_SLOW_COPYING = 5.0
"""The same for files whose times follow their names."""
_TREND = 0.6
_CHANCE = 0.001
_CLEAR = 1.5
"""Least change from the first to the last third, in standard deviations within a third."""


@dataclass(frozen=True)
class Drift:
    """A change over time.

    Attributes:
        late: bool [N], the images after the change, or after its middle.
        what: What changes.
        ratio: How many times as large it is in the late images; None where it is no quantity.
        since: When the late images begin, seconds since 1970.
    """

    late: npt.NDArray[np.bool_]
    what: str
    ratio: float | None
    since: float


@dataclass(frozen=True)
class _Signal:
    what: str
    values: Floats
    least: float
    is_log: bool


def find_drift(images: Descriptions, facts: Sequence[FileFacts], paths: Sequence[Path], smallest: int) -> Drift | None:
    """The first clear trend over time, or None if there is no clear one.

    A trend counts if the rank correlation with time is strong, too strong for chance with as many quantities as are
    looked at, and if the change is large beside the spread at any one time.

    Args:
        images: The images.
        facts: Facts on their files; times from EXIF data precede those of the files.
        paths: Their files. Times that follow the names at the pace of a copy say nothing.
        smallest: Images that must lie before and after the change at least.
    """
    times = _times(facts, paths)
    if times is None:
        return None
    # Brightness comes first: noise and appearance often follow it.
    clear = next((signal for signal in _signals(images) if _trend(signal, times) >= _TREND), None)
    return _drift(clear, times, smallest) if clear else None


def _times(facts: Sequence[FileFacts], paths: Sequence[Path]) -> Floats | None:
    """Times that tell when the pictures were taken; None if there are none."""
    if len(facts) < _FEWEST:
        return None
    taken = [fact.taken for fact in facts if fact.taken is not None]
    modified = [fact.modified for fact in facts if fact.modified is not None]
    exif = len(taken) == len(facts)
    if not exif and len(modified) < len(facts):
        return None
    times = np.array(taken if exif else modified)
    pace = float(np.median(np.diff(np.sort(times))))
    if np.ptp(times) < _SHORTEST or len(np.unique(times)) < _FEWEST:
        return None
    return times if exif or pace >= (_SLOW_COPYING if _in_order(times, paths) else _COPYING) else None


def _in_order(times: Floats, paths: Sequence[Path]) -> bool:
    by_name = times[sorted(range(len(paths)), key=lambda index: str(paths[index]))]
    return bool((np.diff(by_name) >= 0).all())


def _signals(images: Descriptions) -> list[_Signal]:
    brightness, red, blue, *_ = images.light.T
    noise, detail = images.camera.T
    signals = [
        _Signal("brightness", brightness, 0.03, True),
        _Signal("red relative to green", red, 0.03, True),
        _Signal("blue relative to green", blue, 0.03, True),
        _Signal("noise", noise, 0.15, True),
        _Signal("sharpness", detail, 0.1, True),
    ]
    for points, least in ((images.layout, 0.15), (images.spectrum, 0.15)):
        if np.max(np.ptp(points, axis=0)) > 0:
            main = PCA(1, svd_solver="full").fit_transform(points)[:, 0]
            signals.append(_Signal("appearance", main, least, False))
    return signals


def _trend(signal: _Signal, times: Floats) -> float:
    """Size of the rank correlation with time, or 0 if the trend may be chance or is too small to matter."""
    if np.ptp(signal.values) < signal.least:
        return 0.0
    result = spearmanr(signal.values, times)
    thirds = np.array_split(signal.values[np.argsort(times, kind="stable")], 3)
    change = abs(float(thirds[2].mean() - thirds[0].mean()))
    spread = float(np.sqrt(np.mean([third.var() for third in thirds])))
    clear = change >= max(signal.least, _CLEAR * spread) and result.pvalue < _CHANCE / 7
    return abs(float(result.statistic)) if clear else 0.0


def _drift(signal: _Signal, times: Floats, smallest: int) -> Drift:
    """Divides the images where the two sides differ most."""
    order = np.argsort(times, kind="stable")
    values = rankdata(signal.values)[order]
    cuts = np.arange(smallest, len(values) - smallest + 1)
    cuts = cuts[times[order][cuts - 1] < times[order][np.minimum(cuts, len(values) - 1)]]
    between = [cut * (len(values) - cut) * (values[:cut].mean() - values[cut:].mean()) ** 2 for cut in cuts]
    since = float(times[order][cuts[int(np.argmax(between))]])
    late = times >= since
    change = float(signal.values[late].mean() - signal.values[~late].mean())
    return Drift(late, signal.what, float(np.exp(change)) if signal.is_log else None, since)
