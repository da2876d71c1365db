"""What a lead over the baseline in the hold-out check was worth on real defects, by kind of candidate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from choices import finalists, hedges
from facts import Facts, Floats

from automl_ad.selection.lead_model import LeadModel, LeadModels

Pair = tuple[str, float, float]
"""Name of the set, lead in the hold-out check, gain on real defects."""
_LEAST_SPREAD = 1e-6
"""Image AUROC: two finalists lie on a line by chance, not by knowledge."""


def lead_models(all_facts: Sequence[Facts]) -> LeadModels:
    """Least squares over all finalists of a kind; every set weighs alike."""
    single, ensemble = ([pair for facts in all_facts for pair in pairs(facts, kind)] for kind in (False, True))
    return LeadModels(single=line(single), ensemble=line(ensemble))


def pairs(facts: Facts, ensemble: bool) -> list[Pair]:
    """Of each finalist of a kind but the default."""
    found, real, chosen = finalists(facts), facts.real_aurocs, hedges(facts)
    baseline = next((finalist for finalist in found if finalist.number == facts.default), None)
    if baseline is None:
        return []
    return [
        (facts.set, each.value - baseline.value, float(real[each.number] - real[baseline.number]))
        for each in found
        if each is not baseline and (each.number in chosen) == ensemble
    ]


def leads(facts: Facts) -> Floats:
    """Of every trial, float64 [T]; NaN for those that were no finalists, or where the default was none."""
    found = np.full(len(facts.trials), np.nan)
    found[facts.finalists] = facts.values
    return found - (np.nan if facts.default is None else found[facts.default])


def line(found: Sequence[Pair]) -> LeadModel:
    """The line through pairs of lead and gain; two pairs at least, for otherwise nothing is known of a share."""
    if len(found) < 2:
        return LeadModel(0.0, 0.0, 1.0)
    sets = Counter(name for name, _, _ in found)
    weights = np.sqrt([1 / sets[name] for name, _, _ in found])
    lead, gain = (np.array([pair[side] for pair in found]) for side in (1, 2))
    table = np.stack([np.ones_like(lead), lead], axis=1)
    (start, share), *_ = np.linalg.lstsq(table * weights[:, None], gain * weights, rcond=None)
    spread = np.sqrt(np.average(np.square(gain - table @ [start, share]), weights=np.square(weights)))
    return LeadModel(float(start), float(share), max(float(spread), _LEAST_SPREAD))
