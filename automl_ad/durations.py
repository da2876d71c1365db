"""Lengths of time as people write and read them."""

from __future__ import annotations

import math
import re

from automl_ad.errors import OptionError

_NUMBER = r"([0-9]+(?:\.[0-9]+)?)"
_PLAIN = re.compile(_NUMBER)
_WITH_UNITS = re.compile(rf"(?:{_NUMBER}h)?\s*(?:{_NUMBER}m)?\s*(?:{_NUMBER}s)?")
_SECONDS = (3600, 60, 1)


def parse_duration(given: str | float, option: str = "time_budget") -> float:
    """Reads a length of time.

    Args:
        given: Seconds, or text such as ``90``, ``90s``, ``10m``, ``1.5h`` or ``1h30m``.
        option: The option that it is given for.

    Returns:
        Seconds, positive and finite.

    Raises:
        OptionError: The text is no length of time, or it is not positive and finite.
    """
    seconds = _seconds(given.strip().lower()) if isinstance(given, str) else float(given)
    if not (math.isfinite(seconds) and seconds > 0):
        raise OptionError(
            option,
            f"{str(given)!r} is not a usable length of time: "
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


def format_duration(seconds: float) -> str:
    """Two units at most: ``4.2 s``, ``45 s``, ``3 min 20 s``, ``2 h 05 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"
