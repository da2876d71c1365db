"""A threshold is a promise: at most so much overkill, by conformal p-values on normals the detector did not see.

The promise is marginal: over repeated choices of calibration images and of a new good part that is exchangeable with
them, the part is called anomalous with at most the stated probability. It says nothing about parts from a line that
has changed since, and nothing about escapes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from automl_ad.evaluation.metrics import finite_scores


@dataclass(frozen=True)
class Threshold:
    """A decision ``score > value`` and what it promises.

    Attributes:
        value: The score above which an image is called anomalous, on the raw scale of the scores.
        overkill: The promise that is kept: at most this share of good parts is called anomalous, 0 to 1.
        requested: The share that was asked for.
        supported: Whether the calibration images are many enough for the share asked for; if not, ``overkill`` is the
            smallest that they can support.
        n: Calibration images.
        message: One sentence for the user; says what would be needed when the request is not supported.
    """

    value: float
    overkill: float
    requested: float
    supported: bool
    n: int
    message: str


def p_values(scores: npt.ArrayLike, calibration: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Conformal p-values: (1 + number of calibration scores at or above the score) / (n + 1).

    Args:
        scores: [N], higher = more anomalous.
        calibration: [n], scores of normal images that took no part in fitting.

    Returns:
        float64 [N], 1/(n+1) to 1; small = unlike the calibration images.

    Raises:
        ValueError: There are no calibration scores, or a score is not finite.
    """
    ascending = _sorted_calibration(calibration)
    values = finite_scores(scores).astype(np.float64)
    at_or_above = len(ascending) - np.searchsorted(ascending, values, side="left")
    p: npt.NDArray[np.float64] = (1 + at_or_above) / (len(ascending) + 1)
    return p


def smallest_overkill(n: int) -> float:
    """The smallest share of overkill that n calibration images can promise, 1/(n+1).

    Raises:
        ValueError: ``n`` is below 1.
    """
    if n < 1:
        raise ValueError(f"a promise needs at least one calibration image but got {n}")
    return 1 / (n + 1)


def overkill_threshold(calibration: npt.ArrayLike, overkill: float) -> Threshold:
    """The smallest threshold that promises at most the overkill asked for.

    ``score > value`` holds exactly when the score's conformal p-value is at most the returned ``overkill``, ties
    included.

    Args:
        calibration: [n], scores of normal images that took no part in fitting.
        overkill: Share of good parts that may be called anomalous, between 0 and 1.

    Returns:
        The threshold; when n is too small for the request, that of the smallest share that n can support.

    Raises:
        ValueError: There are no calibration scores, one is not finite, or ``overkill`` is not between 0 and 1.
    """
    if not 0 < overkill < 1:
        raise ValueError(f"overkill must be between 0 and 1, such as 0.01 for 1 %, but got {overkill}")
    ascending = _sorted_calibration(calibration)
    n = len(ascending)
    supported = smallest_overkill(n) <= overkill
    kept = overkill if supported else smallest_overkill(n)
    value = float(ascending[n - _alarms(n, kept)])
    return Threshold(value, kept, overkill, supported, n, _sentence(n, overkill, kept))


def _sorted_calibration(calibration: npt.ArrayLike) -> npt.NDArray[np.float64]:
    ascending = np.sort(finite_scores(calibration, "calibration scores").astype(np.float64).ravel())
    if not len(ascending):
        raise ValueError("a promise needs at least one calibration score but got none")
    return ascending


def _alarms(n: int, overkill: float) -> int:
    """How many of the n+1 possible p-values are at most ``overkill``.

    Counted by the very comparison that decides on p-values: rounding ``overkill * (n + 1)`` down would lose a rank
    at values such as 0.29 * 100.
    """
    return int(np.count_nonzero(np.arange(1, n + 2) / (n + 1) <= overkill))


def _sentence(n: int, requested: float, kept: float) -> str:
    if kept == requested:
        return f"At most {requested * 100:.3g} % overkill, promised from {n} calibration images."
    return (
        f"{n} calibration images cannot support {requested * 100:.3g} % overkill: the threshold promises "
        f"{kept * 100:.3g} %; {_images_needed(requested)} images would be needed."
    )


def _images_needed(overkill: float) -> int:
    needed = max(1, math.ceil(1 / overkill) - 2)
    while smallest_overkill(needed) > overkill:
        needed += 1
    return needed
