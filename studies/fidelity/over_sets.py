"""Means over image sets, and how sure they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

DRAWS = 2000


def over_sets(values: Sequence[float], sets: Sequence[str], rng: np.random.Generator) -> dict[str, Any]:
    """Mean over sets, seeds of a set first, and its 95 % bootstrap interval over sets; NaN where nothing is known."""
    known = np.array(list(means_of_sets(values, sets).values()))
    if not len(known):
        return {"mean": float("nan"), "interval": [float("nan")] * 2}
    draws = rng.choice(known, (DRAWS, len(known))).mean(1)
    interval = [float(x) for x in np.quantile(draws, [0.025, 0.975])] if len(known) > 1 else [float("nan")] * 2
    return {"mean": float(known.mean()), "interval": interval}


def means_of_sets(values: Sequence[float], sets: Sequence[str]) -> dict[str, float]:
    """By set, the mean over its seeds, NaN left out."""
    by_set: dict[str, list[float]] = {}
    for value, name in zip(values, sets, strict=True):
        if not np.isnan(value):
            by_set.setdefault(name, []).append(value)
    return {name: float(np.mean(found)) for name, found in by_set.items()}
