"""Values that every JSON reader understands: no NaN, no infinity, no numpy types."""

from __future__ import annotations

import math
from collections.abc import Mapping
from os import PathLike, fspath
from typing import Any

import numpy as np


def plain(value: Any) -> Any:
    """A copy made of dict, list, str, int, float, bool and None only.

    Non-finite numbers become None, since JSON has no word for them and half of its readers fail on them. Tuples
    and numpy arrays become lists, numpy scalars become Python numbers, paths become strings.

    Raises:
        TypeError: A value or a key has no JSON form.
    """
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, Mapping):
        return {_key(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, PathLike):
        return fspath(value)
    raise TypeError(f"{type(value).__name__} has no JSON form; store numbers, text, lists and dictionaries")


def _key(key: Any) -> str:
    # A number as a key would come back as text: refused here rather than missed later.
    if not isinstance(key, str):
        raise TypeError(f"a JSON key must be text but got {key!r}")
    return key
