"""Ways to choose among the finalists of a study, replayed on what the final check of the search saw of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from facts import Facts

from automl_ad.selection.decision import Decision, Finalist, decide
from automl_ad.selection.lead_model import LeadModels, lead_models_for

Choice = Callable[[Facts], int]
"""From a study to the place of the chosen trial."""


def finalists(facts: Facts, averages: bool = True) -> list[Finalist]:
    """The finalists as the search saw them, numbered by place."""
    rows = zip(facts.finalists, facts.values, facts.draws, strict=True)
    return [
        Finalist(int(place), float(value), draws, float(facts.trials[place]["latency_ms"]))
        for place, value, draws in rows
        if averages or not facts.averages[place]
    ]


def decision(facts: Facts, averages: bool = True, lead_models: LeadModels | None = None) -> Decision:
    """The product's decision, with or without the averages; with leads worth something else if so told."""
    return decide(finalists(facts, averages), facts.default, hedges(facts), lead_models or known_outlooks(facts))


def known_outlooks(facts: Facts) -> LeadModels:
    """What the product holds leads to be worth in such a study."""
    return lead_models_for([trial["backbone"] for trial in facts.trials])


def hedges(facts: Facts) -> set[int]:
    """Places of the averages that hold the default."""
    default = None if facts.default is None else facts.trials[facts.default]["number"]
    members = {int(p): facts.trials[p]["params"]["members"] for p in np.flatnonzero(facts.averages)}
    return {place for place, own in members.items() if any(member["trial"] == default for member in own)}


def decided(averages: bool) -> Choice:
    """The choice of that decision."""
    return lambda facts: decision(facts, averages).winner


def leader(averages: bool) -> Choice:
    """Whoever leads in the final check, without any guard."""
    return lambda facts: _best(finalists(facts, averages)).number


def guarded(quantile: float) -> Choice:
    """The leader if it beats the default in all but a share of the samples of images and families."""

    def choice(facts: Facts) -> int:
        found = finalists(facts)
        best, guard = _best(found), next((f for f in found if f.number == facts.default), None)
        beaten = guard is None or float(np.quantile(best.draws - guard.draws, quantile)) > 0
        return best.number if guard is None or beaten else guard.number

    return choice


def ensemble_of(count: int) -> Choice:
    """The average of so many members; the leader where there is none."""

    def choice(facts: Facts) -> int:
        sizes = {int(p): len(facts.trials[p]["params"].get("members", ())) for p in facts.finalists}
        return next((place for place, size in sizes.items() if size == count), leader(True)(facts))

    return choice


def _best(found: list[Finalist]) -> Finalist:
    return max(found, key=lambda finalist: round(finalist.value, 6))


CHOICES: dict[str, Choice] = {
    "decision, averages left out": decided(False),
    "leader of the final check": leader(True),
    "leader, averages left out": leader(False),
    "average of two": ensemble_of(2),
    "average of three": ensemble_of(3),
    "guard at one in two samples": guarded(0.5),
    "guard at one in ten samples": guarded(0.1),
    "guard at one in sixty samples": guarded(1 / 60),
}
"""By name; ``decided(True)`` is the product's choice itself."""
