"""Numbers and names as text; knows nothing of Streamlit, so that it can be tested by itself."""

from __future__ import annotations

import html
import math
import re
import unicodedata
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any, TypeGuard

from automl_ad.durations import format_duration

NONE = "–"

_SPECIAL = re.compile(r"([!-/:-@\[-`{-~])")  # what Markdown lets a backslash precede: all ASCII punctuation
# Streamlit looks for icons, emoji, arrows and links after the backslashes are gone; an invisible joiner hides them.
_LATE = re.compile(r"(?<=:)(?=[\w+/-])|(?<=\bwww)(?=\.)|(?<=[<-])(?=[->])|(?<=\w)(?=@\w)")
_JOINER = "\u2060"


def plain(text: Any) -> str:
    """Text from files, names and notes for places that Streamlit reads as Markdown: it appears as it is."""
    return _SPECIAL.sub(r"\\\1", _LATE.sub(_JOINER, one_line(text)))


def as_code(text: Any) -> str:
    """A name as a code span, which no Markdown reaches into."""
    line = one_line(text)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", line)), default=0))
    return f"{fence} {line} {fence}" if "`" in line else f"{fence}{line or NONE}{fence}"


def as_html(text: Any) -> str:
    """Text for places that are read as HTML."""
    return html.escape(one_line(text), quote=True)


def one_line(text: Any) -> str:
    """Text without line breaks, control characters or marks that reverse the direction of reading."""
    spaced = re.sub(r"\s+", " ", str(text))
    return "".join(sign for sign in spaced if unicodedata.category(sign) not in {"Cc", "Cf", "Cs"}).strip()


def percent(share: float | None, digits: int = 1) -> str:
    """A share as ``3.2 %``."""
    return f"{100 * share:.{digits}f} %" if _is_number(share) else NONE


def milliseconds(value: float | None) -> str:
    """A time an image as ``12.3 ms``."""
    return f"{value:.{1 if value < 100 else 0}f} ms" if _is_number(value) else NONE


def megabytes(value: float | None) -> str:
    """A size as ``45 MB``."""
    if not _is_number(value):
        return NONE
    return f"{value:.2g} MB" if value < 1 else f"{value:.1f} MB" if value < 10 else f"{value:.0f} MB"


def seconds(value: float | None) -> str:
    """A length of time as ``3 min 20 s``."""
    return format_duration(value) if _is_number(value) else NONE


def score(value: float | None) -> str:
    """A proxy score or AUROC, 0 to 1, as ``0.912``."""
    return f"{value:.3f}" if _is_number(value) else NONE


def interval(bounds: Sequence[float] | None) -> str:
    """Bounds as ``0.880 to 0.941``."""
    return f"{score(bounds[0])} to {score(bounds[1])}" if bounds else NONE


def score_with_interval(value: float | None, bounds: Sequence[float] | None) -> str:
    """A score with what it may be worth: ``0.912 (90 % interval 0.880 to 0.941)``."""
    return score(value) + (f" (90 % interval {interval(bounds)})" if bounds and _is_number(value) else "")


def counted(count: int, what: str) -> str:
    """``1 trial``, ``3 trials``, ``3 copies``."""
    if count == 1:
        return f"{count:,} {what}"
    return f"{count:,} {what[:-1]}ies" if re.search("[^aeiou]y$", what) else f"{count:,} {what}s"


def moment(when: datetime | None) -> str:
    """A point in time where the reader's server stands: ``21 Nov 2026, 19:20``."""
    if when is None:
        return NONE
    known = when if when.tzinfo else when.replace(tzinfo=timezone.utc)
    return f"{known.astimezone():%d %b %Y, %H:%M}".lstrip("0")


def candidate(method: str | None, backbone: str | None) -> str:
    """A candidate in words: ``padim on resnet18``."""
    return f"{method or NONE} on {backbone}" if backbone else str(method or NONE)


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
