"""Numbers and durations as text, the same in the terminal, the dashboard and the reports.

A missing or non-finite value is shown as `NONE`. Imports nothing heavy: every command prints through this module.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from numbers import Real
from typing import Any, TypeGuard

from automl_ad.errors import OptionError

NONE = "–"
"""Stands for a value that is missing."""

_DIGITS = r"([0-9]+(?:\.[0-9]+)?)"
_PLAIN = re.compile(_DIGITS)
_WITH_UNITS = re.compile(rf"(?:{_DIGITS}h)?\s*(?:{_DIGITS}m)?\s*(?:{_DIGITS}s)?")
_SECONDS = (3600, 60, 1)


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value is a finite number, of Python or numpy, and no bool."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def number(value: float | None, digits: int) -> str:
    """A number with so many decimals, such as ``12.3``."""
    return f"{value:.{digits}f}" if is_number(value) else NONE


def score(value: float | None) -> str:
    """A proxy score, AUROC or another figure between 0 and 1: ``0.912``."""
    return number(value, 3)


def interval(bounds: Sequence[float] | None, digits: int = 3) -> str:
    """Lower and upper bound: ``0.880 to 0.941``; missing if either is not finite."""
    known = bounds is not None and all(map(is_number, bounds))
    return f"{number(bounds[0], digits)} to {number(bounds[1], digits)}" if bounds and known else NONE


def score_with_interval(value: float | None, bounds: Sequence[float] | None) -> str:
    """A score and its interval: ``0.912 (90 % interval 0.880 to 0.941)``."""
    return score(value) + (f" (90 % interval {interval(bounds)})" if bounds and is_number(value) else "")


def percent(share: float | None, digits: int = 1) -> str:
    """A share, 0 to 1, with a fixed number of decimals: ``3.2 %``."""
    return f"{100 * share:.{digits}f} %" if is_number(share) else NONE


def rate(share: float | None) -> str:
    """An error rate, 0 to 1, with three significant digits: ``4.88 %``; rare errors keep their digits."""
    return f"{100 * share:.3g} %" if is_number(share) else NONE


def rate_interval(bounds: Sequence[float] | None) -> str:
    """Lower and upper bound of an error rate: ``0.51 % to 12.3 %``."""
    return f"{rate(bounds[0])} to {rate(bounds[1])}" if bounds else NONE


def milliseconds(value: float | None) -> str:
    """A latency: ``12.3 ms``, from 100 ms on without decimals."""
    return f"{number(value, 1 if value < 100 else 0)} ms" if is_number(value) else NONE


def megabytes(value: float | None, unit: str = " MB") -> str:
    """A size with two significant digits below 10 MB: ``0.12 MB``, ``4.6 MB``, ``45 MB``."""
    if not is_number(value):
        return NONE
    return f"{value:.2g}{unit}" if value < 1 else f"{number(value, 1 if value < 10 else 0)}{unit}"


def number_ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers in words, those without a gap as a range.

    Example:
        >>> number_ranges([0, 1, 2, 4, 6, 7])
        '0 to 2, 4, 6 and 7'
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    parts = [part for run in runs for part in ([f"{run[0]} to {run[-1]}"] if len(run) > 2 else map(str, run))]
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1]))) if parts else NONE


def first_few(items: Sequence[str], most: int = 3, separator: str = ", ") -> str:
    """The first few items, and how many more there are.

    Example:
        >>> first_few(["a.png", "b.png", "c.png", "d.png"])
        'a.png, b.png, c.png and 1 more'
    """
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return separator.join(items[:most]) + more


def format_duration(seconds: float | None) -> str:
    """A duration in at most two units: ``4.2 s``, ``45 s``, ``3 min 20 s``, ``2 h 05 min``."""
    if not is_number(seconds):
        return NONE
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def parse_duration(given: str | float, option: str = "time_budget") -> float:
    """Reads a duration.

    Args:
        given: Seconds, or text such as ``90``, ``90s``, ``10m``, ``1.5h`` or ``1h30m``.
        option: The option that it is given for.

    Returns:
        Seconds, positive and finite.

    Raises:
        OptionError: The text is no duration, or the duration is not positive and finite.
    """
    seconds = _seconds(given.strip().lower()) if isinstance(given, str) else float(given)
    if not (math.isfinite(seconds) and seconds > 0):
        raise OptionError(
            option,
            f"{str(given)!r} is not a usable duration: "
            "give a positive number of seconds, or text such as 90s, 10m or 1.5h.",
        )
    return seconds


def _seconds(text: str) -> float:
    if _PLAIN.fullmatch(text):
        return float(text)
    parts = _WITH_UNITS.fullmatch(text)
    if parts is None:
        return math.nan
    return sum(float(part) * unit for part, unit in zip(parts.groups(), _SECONDS, strict=True) if part)
