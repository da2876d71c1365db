"""Ways to choose among the finalists of a study, replayed on what the hold-out check of the search saw of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from facts import Facts

from automl_ad.selection.decision import Decision, Finalist, decide
from automl_ad.selection.lead_model import LeadModels, lead_models_for

Choice = Callable[[Facts], int]
"""From a study to the place of the chosen trial."""


def finalists(facts: Facts, ensembles: bool = True) -> list[Finalist]:
    """The finalists as the search saw them, numbered by place."""
    rows = zip(facts.finalists, facts.values, facts.draws, strict=True)
    return [
        Finalist(int(place), float(value), draws, float(facts.trials[place]["latency_ms"]))
        for place, value, draws in rows
        if ensembles or not facts.ensembles[place]
    ]


def decision(facts: Facts, ensembles: bool = True, lead_models: LeadModels | None = None) -> Decision:
    """The product's decision, with or without ensembles, by other lead models if given."""
    return decide(finalists(facts, ensembles), facts.default, hedges(facts), lead_models or known_outlooks(facts))


def known_outlooks(facts: Facts) -> LeadModels:
    """What the product holds leads to be worth in such a study."""
    return lead_models_for([trial["backbone"] for trial in facts.trials])


def hedges(facts: Facts) -> set[int]:
    """Places of the ensembles that hold the baseline."""
    default = None if facts.default is None else facts.trials[facts.default]["number"]
    members = {int(p): facts.trials[p]["params"]["members"] for p in np.flatnonzero(facts.ensembles)}
    return {place for place, own in members.items() if any(member["trial"] == default for member in own)}


def decided(ensembles: bool) -> Choice:
    """The choice of that decision."""
    return lambda facts: decision(facts, ensembles).winner


def leader(ensembles: bool) -> Choice:
    """The leader of the hold-out check, without comparison to the baseline."""
    return lambda facts: _best(finalists(facts, ensembles)).number


def guarded(quantile: float) -> Choice:
    """The leader if it beats the baseline in all but a share of the samples of images and families."""

    def choice(facts: Facts) -> int:
        found = finalists(facts)
        best, baseline = _best(found), next((f for f in found if f.number == facts.default), None)
        beaten = baseline is None or float(np.quantile(best.draws - baseline.draws, quantile)) > 0
        return best.number if baseline is None or beaten else baseline.number

    return choice


def ensemble_of(count: int) -> Choice:
    """The ensemble of so many members; the leader where there is none."""

    def choice(facts: Facts) -> int:
        sizes = {int(p): len(facts.trials[p]["params"].get("members", ())) for p in facts.finalists}
        return next((place for place, size in sizes.items() if size == count), leader(True)(facts))

    return choice


def _best(found: list[Finalist]) -> Finalist:
    return max(found, key=lambda finalist: round(finalist.value, 6))


CHOICES: dict[str, Choice] = {
    "final choice without ensembles": decided(False),
    "leader of the hold-out check": leader(True),
    "leader without ensembles": leader(False),
    "ensemble of two": ensemble_of(2),
    "ensemble of three": ensemble_of(3),
    "leader if it beats the baseline in 1/2 of bootstrap samples": guarded(0.5),
    "the same in 9/10 of the samples": guarded(0.1),
    "the same in 59/60 of the samples": guarded(1 / 60),
}
"""By name; ``decided(True)`` is the final choice itself."""
