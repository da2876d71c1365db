"""Names, counts and times as text for Markdown and HTML; imports no Streamlit, so that it can be tested by itself."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from automl_ad.formatting import NONE, first_few
from automl_ad.methods.names import candidate_words, method_words

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


def counted(count: int, what: str) -> str:
    """``1 trial``, ``3 trials``, ``3 copies``."""
    if count == 1:
        return f"{count:,} {what}"
    return f"{count:,} {what[:-1]}ies" if re.search("[^aeiou]y$", what) else f"{count:,} {what}s"


def some_names(names: Sequence[str]) -> str:
    """The first five of some names, and how many more there are."""
    return first_few([as_code(name) for name in names], 5)


def moment(when: datetime | None) -> str:
    """A point in time where the reader's server stands: ``21 Nov 2026, 19:20``."""
    if when is None:
        return NONE
    known = when if when.tzinfo else when.replace(tzinfo=timezone.utc)
    return f"{known.astimezone():%d %b %Y, %H:%M}".lstrip("0")


def candidate(method: str | None, backbone: str | None) -> str:
    """A candidate as text: ``padim on resnet18``."""
    return candidate_words(method, backbone) if method else NONE


def method_name(method: str | None) -> str:
    """A method as it is shown."""
    return method_words(method) if method else NONE
