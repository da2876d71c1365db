"""How good selection rules are, from what studies were remembered by; no candidate is fitted again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from certainty import certainties
from choices import CHOICES, decided, decision, hedges, known_outlooks
from facts import Facts, Flags
from in_family_bias import in_family_bias, overrated
from leads import lead_models, leads
from over_sets import means_of_sets, over_sets
from rules import RULES, Rule, family, ranks
from shared_members import KINDS, SIZES, regrets

from automl_ad.evaluation.intervals import kendall, spearman
from automl_ad.evaluation.metrics import image_auroc
from automl_ad.methods.names import ENSEMBLE
from automl_ad.selection.few_defects import posterior
from automl_ad.selection.lead_model import expected_gains
from automl_ad.study.assess import labelled_floor, labelled_halves
from automl_ad.tuned import SURE

FEW = (1, 3, 10)
"""How many real defects re-rank."""
DRAWS_OF_DEFECTS = 50
TOP_SHARE = 1 / 3
FIVE = 5
"""Candidates that a tied set should hold at most."""
NEAR = 0.005
"""Image AUROC by which a tied candidate may fall short of the best one and still count as it."""
DEFAULT_SETTINGS = ", default settings"
"""Ends the name of a row that always takes the same method."""


def judge(all_facts: Sequence[Facts], seed: int) -> dict[str, Any]:
    """Every rule and every way to choose on every study; what a rule learns, it learns from the other sets.

    Returns:
        ``rules``: by name, figures and the regret of each study, in points. ``saved``: by how many points the final
        choice's regret is lower than others'. ``studies``: what belongs to a study and not to a rule.
        ``in_family_bias``: how much better trials look on families that they learned from. ``after``: what the proxy
        makes of them by the families that count, before and after the bias correction. ``defects``: what a few real
        defects change. ``leads``: what a lead in the hold-out check was worth. ``certainties``: the stated
        probabilities of improvement, and how often they were right. ``shared_members``: regret of ensembles by what
        their members share.
    """
    named = {**RULES, **{f"{name} alone": family(name) for name in _families(all_facts)}}
    rng = np.random.default_rng(seed)
    rows = {"final choice": [_fixed(facts, decided(True)(facts)) for facts in all_facts]}
    rows["lead models of the other sets"] = [_fixed(facts, _learned(facts, all_facts)) for facts in all_facts]
    rows |= {name: [_fixed(facts, choice(facts)) for facts in all_facts] for name, choice in CHOICES.items()}
    rows |= {name: [_followed(facts, rule, all_facts) for facts in all_facts] for name, rule in named.items()}
    rows |= {f"{m}{DEFAULT_SETTINGS}": [_default(facts, m) for facts in all_facts] for m in _methods(all_facts)}
    rows["random choice"] = [_random(facts) for facts in all_facts]
    rows["labels of half of the test images"] = [{"regret": _floor(facts, seed)} for facts in all_facts]
    return {
        "rules": {name: _summary(found, all_facts, rng) for name, found in rows.items()},
        "saved": {name: _saved(rows["final choice"], rows[name], all_facts, rng) for name in _baselines(rows)},
        "studies": [_study(facts, seed) for facts in all_facts],
        "in_family_bias": in_family_bias(all_facts),
        "after": overrated(all_facts, rng),
        "leads": _leads(all_facts),
        "certainties": certainties(all_facts),
        "shared_members": _shared_members(all_facts, rng),
        "defects": {str(count): _few_defects(all_facts, count, seed) for count in FEW},
    }


def _leads(all_facts: Sequence[Facts]) -> dict[str, dict[str, Any]]:
    """What leads were worth by kind, and where they break even by all sets but one, lowest and highest."""
    one_each = {facts.set: facts for facts in all_facts}.values()
    apart, rows = [lead_models(others) for facts in one_each if (others := facts.others(all_facts))], {}
    for kind, found in lead_models(all_facts)._asdict().items():
        known = [getattr(each, kind).break_even for each in apart]
        extremes = [min(known), max(known)] if known else [float("nan")] * 2
        rows[kind] = asdict(found) | {"break_even": found.break_even, "without_one": extremes}
    return rows


def _learned(facts: Facts, all_facts: Sequence[Facts]) -> int:
    """The product's decision where leads are worth what they were worth on the other sets."""
    return decision(facts, lead_models=lead_models(facts.others(all_facts))).winner


def _followed(facts: Facts, rule: Rule, all_facts: Sequence[Facts]) -> dict[str, float]:
    """What the first of a rule costs, ensembles left out, and how its order fits that of the real defects."""
    others = facts.others(all_facts)
    single = ~facts.ensembles
    values, real = rule(facts, others)[single], facts.real_aurocs
    chosen = int(np.flatnonzero(single)[np.round(values, 9).argmax()])
    top = np.argsort(-real[single], kind="stable")[: max(3, round(TOP_SHARE * int(single.sum())))]
    return _fixed(facts, chosen) | {
        "spearman": spearman(values, real[single]),
        "kendall": kendall(values, real[single]),
        "top_spearman": spearman(values[top], real[single][top]),
    }


def _fixed(facts: Facts, place: int) -> dict[str, float]:
    real = facts.real_aurocs
    return {"regret": 100 * float(real.max() - real[place])}


def _default(facts: Facts, method: str) -> dict[str, float]:
    """The first trial of a method: searches begin with the published defaults, those of the first backbone first."""
    own = [row for row, trial in enumerate(facts.trials) if trial["method"] == method]
    return _fixed(facts, min(own, key=lambda row: facts.trials[row]["number"])) if own else {"regret": float("nan")}


def _random(facts: Facts) -> dict[str, float]:
    real = facts.real_aurocs
    return {"regret": 100 * float(real.max() - real.mean())}


def _floor(facts: Facts, seed: int) -> float:
    return labelled_floor(facts.scores, facts.labels, np.random.default_rng(seed))


def _held_by_labels(facts: Facts, seed: int) -> float:
    """How often the five best by the labels of one half of the images hold the best of the other half."""
    halves = labelled_halves(facts.scores, facts.labels, np.random.default_rng(seed))
    held = [judged[np.argsort(-seen)[:FIVE]].max() >= judged.max() - NEAR for seen, judged in halves]
    return float(np.mean(held))


def _study(facts: Facts, seed: int) -> dict[str, Any]:
    real, found = facts.real_aurocs, decision(facts)
    chosen = found.winner
    return {
        "set": facts.set,
        "seed": facts.seed,
        "trials": len(facts.trials),
        "images": {"good": int((~facts.labels).sum()), "defect": int(facts.labels.sum())},
        "best": float(real.max()),
        "selected": float(real[chosen]),
        "appearance": dict(facts.appearance),
        "method": facts.trials[chosen]["method"],
        "default_kept": chosen == facts.default,
        "certainty": found.certainty,
        "tied": len(found.tied),
        "tied_holds_best": bool(real[list(found.tied)].max() >= real.max() - NEAR),
        "finalists_hold_best": bool(real[facts.finalists].max() >= real.max() - NEAR),
        "labels_hold_best": _held_by_labels(facts, seed),
        "suite_share": facts.seconds["suite"] / facts.seconds["search"],
        "seconds": dict(facts.seconds),
        "dots": {
            "proxy": facts.proxy.tolist(),
            "real": real.tolist(),
            "names": [f"{trial['number']}: {trial['method']} on {trial['backbone']}" for trial in facts.trials],
            "chosen": chosen,
        },
    }


def _few_defects(all_facts: Sequence[Facts], count: int, seed: int) -> dict[str, float]:
    """Mean regret over sets before and after so many real defects re-rank, judged by the images that were not shown.

    A set without so many, and one more to judge by, is left out; ``sets`` tells how many are left.
    """
    enough = [facts for facts in all_facts if len(facts.shown) >= count and int(facts.labels.sum()) > count]
    rows, rng = [_reranked(facts, count, seed) for facts in enough], np.random.default_rng(seed)
    before, after = (over_sets([row[side] for row in rows], [f.set for f in enough], rng)["mean"] for side in (0, 1))
    return {"sets": len({facts.set for facts in enough}), "before": before, "after": after}


def _reranked(facts: Facts, count: int, seed: int) -> tuple[float, float]:
    rng, chosen = np.random.default_rng(seed), decided(True)(facts)
    known = known_outlooks(facts)
    gains, spreads = expected_gains(ranks(facts, ()), leads(facts), _held(facts), facts.default, known)
    regrets = []
    for _ in range(DRAWS_OF_DEFECTS):
        drawn = rng.permutation(len(facts.shown))[:count]
        kept = np.ones(len(facts.labels), bool)
        kept[facts.shown[drawn]] = False
        real = np.array([image_auroc(row[kept], facts.labels[kept]) for row in facts.scores])
        after = posterior(gains, spreads, facts.placements[:, drawn])
        regrets.append([real.max() - real[chosen], real.max() - real[after.leader(chosen, SURE)]])
    before, later = 100 * np.mean(regrets, axis=0)
    return float(before), float(later)


def _held(facts: Facts) -> Flags:
    held = np.zeros(len(facts.trials), bool)
    held[list(hedges(facts))] = True
    return held


def _shared_members(all_facts: Sequence[Facts], rng: np.random.Generator) -> list[dict[str, Any]]:
    rows, sets = [regrets(facts) for facts in all_facts], [facts.set for facts in all_facts]
    keys = [(size, kind) for size in SIZES for kind in KINDS if any((size, kind) in row for row in rows)]
    return [
        {"size": size, "members": kind} | over_sets([row.get((size, kind), np.nan) for row in rows], sets, rng)
        for size, kind in keys
    ]


def _summary(found: Sequence[dict[str, float]], all_facts: Sequence[Facts], rng: np.random.Generator) -> dict[str, Any]:
    sets = [facts.set for facts in all_facts]
    keys = sorted({key for row in found for key in row})
    figures = {key: over_sets([row.get(key, np.nan) for row in found], sets, rng) for key in keys}
    regrets = [row["regret"] for row in found]
    means = means_of_sets(regrets, sets) or {sets[0]: float("nan")}
    worst = max(means, key=lambda name: means[name])
    return figures | {"worst": {"set": worst, "regret": means[worst]}, "regrets": regrets}


def _baselines(rows: Mapping[str, Any]) -> list[str]:
    return [
        name
        for name in rows
        if name.endswith(DEFAULT_SETTINGS) or name in ("random choice", "labels of half of the test images")
    ]


def _saved(
    own: Sequence[dict[str, float]],
    other: Sequence[dict[str, float]],
    all_facts: Sequence[Facts],
    rng: np.random.Generator,
) -> dict[str, Any]:
    """By how many points the product's regret is lower, study by study."""
    less = [b["regret"] - a["regret"] for a, b in zip(own, other, strict=True)]
    return over_sets(less, [facts.set for facts in all_facts], rng)


def _families(all_facts: Sequence[Facts]) -> list[str]:
    return list(dict.fromkeys(name for facts in all_facts for name in facts.families))


def _methods(all_facts: Sequence[Facts]) -> list[str]:
    return sorted({str(trial["method"]) for facts in all_facts for trial in facts.trials} - {ENSEMBLE})
