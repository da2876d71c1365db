"""What ensembles are worth whose members a method, a backbone, both or nothing; no proxy has a say in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
from facts import Facts, Floats

from automl_ad.evaluation.metrics import image_auroc
from automl_ad.methods.names import ENSEMBLE

SIZES = (2, 3)
KINDS = ("nothing", "a method", "a backbone", "both")


def regrets(facts: Facts) -> dict[tuple[int, str], float]:
    """Mean regret, in points, of all ensembles of the baseline with default settings, by size and by what is shared.

    Members are the first trial of each method and backbone. Each member's image scores are taken in units of its scores
    of the good images of the proxy suite, as the product does it with maps.
    """
    if facts.default is None:
        return {}
    units, best = _in_units(facts), facts.real_aurocs.max()
    found: dict[tuple[int, str], list[float]] = {}
    for size in SIZES:
        for members in _ensembles(facts, size):
            real = image_auroc(units[list(members)].mean(0), facts.labels)
            found.setdefault((size, shared(facts, members)), []).append(100 * float(best - real))
    return {key: float(np.mean(values)) for key, values in found.items()}


def shared(facts: Facts, members: Sequence[int]) -> str:
    """What some of the members have in common: one of ``KINDS``."""
    alike = [len({facts.trials[place][key] for place in members}) < len(members) for key in ("method", "backbone")]
    return KINDS[alike[0] + 2 * alike[1]]


def _ensembles(facts: Facts, size: int) -> Iterator[tuple[int, ...]]:
    assert facts.default is not None
    first: dict[tuple[str, str], int] = {}
    for place in sorted(range(len(facts.trials)), key=lambda place: facts.trials[place]["number"]):
        trial = facts.trials[place]
        if trial["method"] != ENSEMBLE:
            first.setdefault((trial["method"], trial["backbone"]), place)
    partners = [place for place in first.values() if place != facts.default]
    yield from ((facts.default, *others) for others in combinations(partners, size - 1))


def _in_units(facts: Facts) -> Floats:
    centre, spread = facts.good.mean(1, keepdims=True), facts.good.std(1, keepdims=True)
    scaled: Floats = (facts.scores - centre) / np.maximum(spread, 1e-9)
    return scaled
