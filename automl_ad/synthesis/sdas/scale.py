"""The scale of strengths, 0 to 1, and the added variance s that it means for one model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

FIRST, FACTOR, LOWEST, HIGHEST = 0.16, 4.0, 0.0025, 10.24
"""Values of s tried by ``find_full``: each four times the one before, which doubles the change of the image."""


@dataclass(frozen=True)
class StrengthScale:
    """Converts strengths to added variance: s = full * strength ** power.

    How much an added variance changes depends on the product and on the model: the same s is invisible on a fabric and
    plain on polished metal. A scale makes strength 1 plain to see on every product.

    Attributes:
        full: s at strength 1.
        power: 2 makes the change of the image, which grows with the standard deviation, proportional to the strength.
    """

    full: float = 1.0
    power: float = 2.0

    def added_variance(self, strength: float) -> float:
        """s of a strength.

        >>> StrengthScale(full=0.64).added_variance(0.5)
        0.16
        """
        return float(self.full * strength**self.power)


PUBLISHED = StrengthScale(full=0.2, power=1.0)
"""Of the published model: strength 0.5 to 1 is the s of the paper, 0.1 to 0.2."""


def find_full(is_plain: Callable[[float], bool]) -> float:
    """The smallest s tried at which anomalies are plain to see; the largest if they never are.

    Args:
        is_plain: Whether they are at a value of s; called once for each.
    """
    s = FIRST
    if not is_plain(s):
        while s < HIGHEST:
            s *= FACTOR
            if is_plain(s):
                break
        return s
    while s > LOWEST and is_plain(s / FACTOR):
        s /= FACTOR
    return s
