"""Means over image sets, and how sure they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

DRAWS = 2000


def over_sets(values: Sequence[float], sets: Sequence[str], rng: np.random.Generator) -> dict[str, Any]:
    """Mean over sets, seeds of a set first, and its 95 % bootstrap interval over sets."""
    by_set: dict[str, list[float]] = {}
    for value, name in zip(values, sets, strict=True):
        if not np.isnan(value):
            by_set.setdefault(name, []).append(value)
    if not by_set:
        return {"mean": float("nan"), "interval": [float("nan")] * 2}
    known = np.array([np.mean(found) for found in by_set.values()])
    draws = rng.choice(known, (DRAWS, len(known))).mean(1)
    return {"mean": float(known.mean()), "interval": [float(x) for x in np.quantile(draws, [0.025, 0.975])]}
