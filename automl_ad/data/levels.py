"""Black and white of files deeper than 8 bits: from what the good images use, not from extreme values."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from automl_ad.data.pixel_budget import in_threads
from automl_ad.data.reading import WHITE_LEVELS, is_deep, stored_pixels
from automl_ad.data.rendering import FULL_SCALE
from automl_ad.errors import InputError

TAIL = 0.001
"""Share of the pixels after a median filter that may lie beyond either end of the band."""
FINE_TAIL = 0.02
"""The same of the pixels as they are: finer structures than the filter leaves count if there are many of them."""
HEADROOM = 0.25
"""Room above and below the band for defects, as a share of its width.

Measured with drawn thermal images of a ring that spans 1,200 of 65,536 values, and a per-pixel Gaussian as detector: a
hot spot on the brightest place of the ring, 5 % to 50 % of the band brighter than it, has an image AUROC of 0.28
without room (both are clipped to white) and of 1.00 with an eighth or a quarter. Half a band leaves the good parts 141
of the 256 levels instead of 186 and misses some of the faintest spots (0.92).
"""
LEAST_BAND = 16
"""Values that a band spans at least: narrower ones are the noise of a uniform area."""
EIGHT_BIT_WHITE = 255

_FILES_LOOKED_AT = 64
_SIDE = 512
_MEDIAN = 5
"""Side of the median filter; it removes hot and dead pixels, rows and columns."""

_Pixels = npt.NDArray[Any]


def levels_of(paths: Sequence[Path]) -> tuple[int, int]:
    """Black and white level of the files deeper than 8 bits.

    At most 64 evenly spaced files are looked at. Their band reaches from the quantile 0.001 to 0.999 of the pixels
    after a median filter and from 0.02 to 0.98 of the pixels as they are, whichever is further; see `levels_around`.
    Transparent pixels do not count, nor do the values 0 and 65535, which are often markers of missing data and become
    black and white anyhow.

    Args:
        paths: Image files of any depth; unreadable ones are passed over.

    Returns:
        (black, white), black at least 0 and below white; (0, 65535) if there are no deep files.
    """
    deep = [path for path in paths if is_deep(path)]
    if not deep:
        return 0, FULL_SCALE
    picks = np.linspace(0, len(deep) - 1, min(len(deep), _FILES_LOOKED_AT)).astype(int)
    samples = in_threads(_samples, [deep[i] for i in picks])
    smooth, fine = (np.concatenate(values) for values in zip(*samples, strict=True))
    bands = [band for band in (_band(smooth, TAIL), _band(fine, FINE_TAIL)) if band]
    if not bands:
        return 0, FULL_SCALE
    return levels_around(min(low for low, _ in bands), max(high for _, high in bands))


def levels_around(low: int, high: int) -> tuple[int, int]:
    """Black and white level for the band of values that good images use.

    The band is widened by a quarter at both ends. A band that spans at least half of the range of a camera of 10, 12,
    14 or 16 bits gets no room above the camera's white. Where nothing lies above 255, the files hold 8-bit images.

    >>> levels_around(51_000, 52_200), levels_around(30, 4_000), levels_around(10, 250)
    ((50700, 52500), (0, 4095), (0, 255))

    Args:
        low: Darkest value, at least 0.
        high: Brightest value.
    """
    if high <= EIGHT_BIT_WHITE:
        return 0, EIGHT_BIT_WHITE
    band = max(high - low, LEAST_BAND)
    room = round(HEADROOM * band)
    white = low + band + room
    full = next((level for level in WHITE_LEVELS if high <= level), white)
    if band >= full / 2 or full == FULL_SCALE:
        white = min(white, full)
    return max(0, low - room), white


def _band(values: _Pixels, tail: float) -> tuple[int, int] | None:
    used = values[(values > 0) & (values != FULL_SCALE)]
    if not used.size:
        return None
    beyond = int(tail * (used.size - 1))
    ends = [beyond, used.size - 1 - beyond]
    low, high = np.partition(used, ends)[ends]
    return int(low), int(high)


def _samples(path: Path) -> tuple[_Pixels, _Pixels]:
    """Values [n] of visible pixels of a file, after a median filter and as they are; none if it cannot be read."""
    nothing = np.empty(0, np.uint16)
    try:
        with stored_pixels(path) as stored:
            if isinstance(stored.values, Image.Image):
                return nothing, nothing
            steps = tuple(slice(None, None, -(-side // _SIDE)) for side in stored.values.shape[:2])
            values = np.ascontiguousarray(stored.values[steps])
            visible = np.s_[:] if stored.alpha is None else np.asarray(stored.alpha)[steps] > 0
    except InputError:
        return nothing, nothing
    return _median(values)[visible].ravel(), values[visible].ravel()


def _median(values: _Pixels) -> _Pixels:
    kept = values if values.dtype == np.uint16 else values.astype(np.float32)  # which OpenCV can filter
    return np.asarray(cv2.medianBlur(kept, _MEDIAN)).astype(values.dtype)
