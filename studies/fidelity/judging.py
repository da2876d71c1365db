"""How good selection rules are, from what studies were remembered by; no candidate is fitted again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from facts import Facts, Floats
from rules import RULES, Rule, family, real_aurocs

from automl_ad.evaluation.intervals import kendall, spearman
from automl_ad.search.assess import labelled_floor

DRAWS = 2000
TOP_SHARE = 1 / 3
NEAR = 0.005
"""Image AUROC by which a tied candidate may fall short of the best one and still count as it."""


def judge(all_facts: Sequence[Facts], seed: int) -> dict[str, Any]:
    """Every rule on every study; what a rule learns, it learns from the other sets.

    Returns:
        ``rules``: by name, figures and the regret of each study, in points. ``studies``: what belongs to a study and
        not to a rule. ``home``: how much better trials look on families that they learned from. ``families``.
    """
    named = {**RULES, **{f"{name} alone": family(name) for name in _families(all_facts)}}
    rng = np.random.default_rng(seed)
    rows = {"product's choice": [_fixed(facts, facts.selected) for facts in all_facts]}
    rows |= {name: [_followed(facts, rule, all_facts) for facts in all_facts] for name, rule in named.items()}
    rows |= {f"default of {m}": [_default(facts, m) for facts in all_facts] for m in _methods(all_facts)}
    rows["random choice"] = [_random(facts) for facts in all_facts]
    rows["true labels of half"] = [{"regret": _floor(facts, seed)} for facts in all_facts]
    return {
        "rules": {name: _summary(found, all_facts, rng) for name, found in rows.items()},
        "studies": [_study(facts) for facts in all_facts],
        "home": home_advantage(all_facts),
    }


def _followed(facts: Facts, rule: Rule, all_facts: Sequence[Facts]) -> dict[str, float]:
    """What the first of a rule costs, and how its order fits that of the real defects."""
    others = [other for other in all_facts if other.set != facts.set]
    values, real = rule(facts, others), real_aurocs(facts)
    top = np.argsort(-real, kind="stable")[: max(3, round(TOP_SHARE * len(real)))]
    return _fixed(facts, int(np.round(values, 9).argmax())) | {
        "spearman": spearman(values, real),
        "kendall": kendall(values, real),
        "top_spearman": spearman(values[top], real[top]),
    }


def _fixed(facts: Facts, place: int) -> dict[str, float]:
    real = real_aurocs(facts)
    return {"regret": 100 * float(real.max() - real[place])}


def _default(facts: Facts, method: str) -> dict[str, float]:
    """The first trial of a method: searches begin with the published defaults, those of the first backbone first."""
    own = [row for row, trial in enumerate(facts.trials) if trial["method"] == method]
    return _fixed(facts, min(own, key=lambda row: facts.trials[row]["number"])) if own else {"regret": float("nan")}


def _random(facts: Facts) -> dict[str, float]:
    real = real_aurocs(facts)
    return {"regret": 100 * float(real.max() - real.mean())}


def _floor(facts: Facts, seed: int) -> float:
    return labelled_floor(facts.scores, facts.labels, np.random.default_rng(seed))


def _study(facts: Facts) -> dict[str, Any]:
    real = real_aurocs(facts)
    return {
        "set": facts.set,
        "seed": facts.seed,
        "trials": len(facts.trials),
        "images": {"good": int((~facts.labels).sum()), "defect": int(facts.labels.sum())},
        "best": float(real.max()),
        "selected": float(real[facts.selected]),
        "default_kept": facts.selected == facts.default,
        "tied": len(facts.tied),
        "tied_holds_best": bool(len(facts.tied) and real[facts.tied].max() >= real.max() - NEAR),
        "seconds": dict(facts.seconds),
    }


def home_advantage(all_facts: Sequence[Facts]) -> list[dict[str, Any]]:
    """By method and family, how much better trials look where they learned from the family, in points.

    Of each trial that learned from a family: its mean AUROC there less its mean elsewhere; less the same difference,
    on average, of the trials of its study that learned from none.
    """
    found: dict[tuple[str, str], list[float]] = {}
    for facts in all_facts:
        for name in facts.families:
            column = facts.of_family(name)
            learned, apart = facts.home[:, column].all(1), ~facts.home.any(1)
            if not learned.any() or not apart.any():
                continue
            gap = facts.image_cells[:, column].mean(1) - facts.image_cells[:, ~column].mean(1)
            for row in np.flatnonzero(learned):
                key = (str(facts.trials[row]["method"]), name)
                found.setdefault(key, []).append(100 * float(gap[row] - gap[apart].mean()))
    return [
        {"method": method, "family": name, "points": float(np.mean(gaps)), "trials": len(gaps)}
        for (method, name), gaps in sorted(found.items())
    ]


def _summary(found: Sequence[dict[str, float]], all_facts: Sequence[Facts], rng: np.random.Generator) -> dict[str, Any]:
    sets = [facts.set for facts in all_facts]
    keys = sorted({key for row in found for key in row})
    figures = {key: _over_sets([row.get(key, np.nan) for row in found], sets, rng) for key in keys}
    regrets = np.array([row["regret"] for row in found])
    worst = int(np.nanargmax(regrets)) if not np.isnan(regrets).all() else 0
    return figures | {"worst": {"set": sets[worst], "regret": float(regrets[worst])}, "regrets": regrets.tolist()}


def _over_sets(values: Sequence[float], sets: Sequence[str], rng: np.random.Generator) -> dict[str, Any]:
    """Mean over sets, seeds of a set first, and its 95 % bootstrap interval over sets."""
    by_set = np.array(
        [
            np.nanmean([v for v, s in zip(values, sets, strict=True) if s == name] or [np.nan])
            for name in dict.fromkeys(sets)
        ]
    )
    known: Floats = by_set[~np.isnan(by_set)]
    if not len(known):
        return {"mean": float("nan"), "interval": [float("nan")] * 2}
    draws = rng.choice(known, (DRAWS, len(known))).mean(1)
    return {"mean": float(known.mean()), "interval": [float(x) for x in np.quantile(draws, [0.025, 0.975])]}


def _families(all_facts: Sequence[Facts]) -> list[str]:
    return list(dict.fromkeys(name for facts in all_facts for name in facts.families))


def _methods(all_facts: Sequence[Facts]) -> list[str]:
    return sorted({str(trial["method"]) for facts in all_facts for trial in facts.trials})
