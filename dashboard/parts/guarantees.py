"""Shares of overkill that a reader can ask for, and what the number of good parts makes of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from automl_ad.formatting import percent
from parts.chart import listed
from parts.wording import counted

if TYPE_CHECKING:
    from automl_ad.reporting.operating_points import OperatingPoint, OperatingPoints, Share

WISHES = (0.01, 0.02, 0.05)


@dataclass(frozen=True)
class Wish:
    """A guarantee that can be asked for.

    Attributes:
        share: At most this share of good parts is rejected, 0 to 1.
        label: In words.
        supported: Whether the good parts are many enough.
        why: What the guarantee rests on, or what it would need.
    """

    share: float
    label: str
    supported: bool
    why: str


def wishes(smallest: float) -> list[Wish]:
    """The usual guarantees, and the smallest that can be had where it is none of them.

    Args:
        smallest: Share that the good parts support, 1/(n+1).
    """
    normals = round(1 / smallest) - 1
    usual = [_wish(share, smallest, normals) for share in WISHES]
    if all(wish.supported for wish in usual):
        return usual
    best = Wish(
        smallest,
        f"at most {percent(rounded_up(smallest))} (smallest)",
        True,
        f"{counted(normals, 'good part')} can guarantee no less.",
    )
    return sorted([*usual, best], key=lambda wish: wish.share)


def out_of_reach(beyond: Sequence[Wish], normals: int) -> str:
    """What guarantees that cannot be kept would need, in one sentence.

    Args:
        beyond: They, at least one.
        normals: Good parts that there are.
    """
    needs = [f"{_needed(wish.share)} for {wish.label}" for wish in beyond]
    return f"Good parts of the proxy suite that a guarantee takes: {listed(needs)}; there are {normals}."


def rounded_up(share: float) -> float:
    """A share to a tenth of a percent, not below itself: a guarantee must not be shown better than it is."""
    return math.ceil(round(share * 1000, 9)) / 1000


def _wish(share: float, smallest: float, normals: int) -> Wish:
    supported = share >= smallest
    why = (
        f"{counted(normals, 'good part')} can support this."
        if supported
        else f"It takes {_needed(share)} good parts of the proxy suite to guarantee this; there are {normals}."
    )
    return Wish(share, f"at most {percent(share, 0)}", supported, why)


def _needed(share: float) -> int:
    """Good parts that a guarantee takes."""
    return math.ceil(round(1 / share - 1, 9))


def on_grid(threshold: float, low: float, high: float, step: float) -> float:
    """The place of a slider at or above a threshold: rounding down would break the guarantee.

    Args:
        threshold: Raw score.
        low: Lowest place.
        high: Highest place.
        step: Between two places.
    """
    steps = math.ceil((threshold - low) / step - 1e-9)
    place = low + steps * step
    return float(min(max(place if place >= threshold else place + step, low), high))


def share_in_words(share: Share) -> str:
    """A counted share: "5.0 % (90 % interval 1.4 to 12.4 %)"."""
    return f"{percent(share.value)} (90 % interval {bounds_in_words(share)})"


def bounds_in_words(share: Share) -> str:
    """The interval of a share: "1.4 to 12.4 %"."""
    low, high = share.interval
    return f"{100 * low:.1f} to {percent(high)}"


def spoken(point: OperatingPoint) -> str:
    """What a threshold does, in sentences."""
    over, missed = point.overkill, point.total
    return (
        f"At this threshold {over.count} of {over.of} good parts would be rejected: overkill {share_in_words(over)}. "
        f"{missed.count} of {missed.of} synthetic anomalies would escape: {share_in_words(missed)}."
    )


def step_of(points: OperatingPoints) -> float:
    """The slider's step: fine enough that no two good parts' scores fall together."""
    low, high = points.range
    return (high - low) / 2000
