"""How much better methods that learn from synthetic anomalies look on them than they are on real defects."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from facts import Facts
from over_sets import over_sets
from rules import mean

from automl_ad.backbones.base import NO_BACKBONE
from automl_ad.backbones.names import EMBEDDED


def in_family_bias(all_facts: Sequence[Facts]) -> list[dict[str, Any]]:
    """By method and family, how much better trials look where they learned from the family, in points.

    Of each trial that learned from a family: its mean AUROC there less its mean elsewhere; less the same difference,
    on average, of the trials of its study that learned from none.
    """
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for facts in all_facts:
        for name in facts.families:
            column = facts.of_family(name)
            learned, apart = facts.home[:, column].all(1), ~facts.home.any(1)
            if not learned.any() or not apart.any():
                continue
            gap = facts.image_cells[:, column].mean(1) - facts.image_cells[:, ~column].mean(1)
            for row in np.flatnonzero(learned):
                found[str(facts.trials[row]["method"]), name].append(100 * float(gap[row] - gap[apart].mean()))
    return [
        {"method": method, "family": name, "points": float(np.mean(gaps)), "trials": len(gaps)}
        for (method, name), gaps in sorted(found.items())
    ]


def overrated(all_facts: Sequence[Facts], rng: np.random.Generator) -> list[dict[str, Any]]:
    """By method that learns from anomalies and what it runs on, how much the proxy overrates its trials, in points.

    Of each such trial: its proxy score less its real image AUROC; less the same difference, on average, of the trials
    of its study that learned from none.

    Returns:
        ``before`` and ``after`` its advantage is taken off, each a mean over sets with its interval, and ``trials``.
    """
    found: dict[tuple[str, str], list[tuple[str, float, float]]] = defaultdict(list)
    for facts in all_facts:
        gap = mean(facts, ()) - facts.real_aurocs
        apart = ~facts.home.any(1) & ~facts.ensembles
        for row in np.flatnonzero(facts.home.any(1) & ~facts.ensembles):
            trial, after = facts.trials[row], 100 * float(gap[row] - gap[apart].mean())
            before = after + 100 * float(facts.advantages[row])
            found[str(trial["method"]), _ground(trial)].append((facts.set, before, after))
    return [
        {"method": method, "on": ground, "trials": len(rows)}
        | {
            when: over_sets([row[side] for row in rows], [row[0] for row in rows], rng)
            for side, when in ((1, "before"), (2, "after"))
        }
        for (method, ground), rows in sorted(found.items())
    ]


def _ground(trial: Mapping[str, Any]) -> str:
    return {EMBEDDED: "built-in filters", NO_BACKBONE: "no backbone"}.get(trial["backbone"], "networks")
