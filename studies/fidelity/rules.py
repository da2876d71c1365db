"""Ways to rank the trials of a study without a real defect; each gives every trial a value, higher = better.

All take off the advantage of those who learned from synthetic anomalies.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np
from facts import Facts, Flags, Floats
from scipy import stats
from sklearn.linear_model import Ridge

from automl_ad.selection.ranking import informative_cells, rank_scores

Rule = Callable[[Facts, Sequence[Facts]], Floats]
"""From a study, and those of other sets, to float64 [T]."""

PRIOR_SHARE = 0.3
"""Weight of what other sets say of a configuration beside the ranks of this study."""
_RIDGE = 3.0


def ranks(facts: Facts, others: Sequence[Facts]) -> Floats:
    """The rule of the product's table: trimmed ranks over image and localisation cells, in-family cells left out."""
    del others
    table = np.concatenate([facts.image_cells, facts.localisation_cells], 1)
    return rank_scores(table, np.concatenate([facts.home, facts.home], 1), facts.advantages)


def image_ranks(facts: Facts, others: Sequence[Facts]) -> Floats:
    """The same over image AUROC alone."""
    del others
    return rank_scores(facts.image_cells, facts.home, facts.advantages)


def localisation_ranks(facts: Facts, others: Sequence[Facts]) -> Floats:
    """The same over localisation AUROC alone."""
    del others
    return rank_scores(facts.localisation_cells, facts.home, facts.advantages)


def mean(facts: Facts, others: Sequence[Facts]) -> Floats:
    """The proxy score: the mean of image and localisation AUROC over the families that a trial did not learn from.

    All count for one that learned from all. Its advantage is taken off.
    """
    del others
    home = facts.home & ~facts.home.all(1, keepdims=True)
    chosen = np.where(home, np.nan, (facts.image_cells + facts.localisation_cells) / 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # families that a trial learned from are empty
        by_family = np.stack([np.nanmean(chosen[:, facts.of_family(name)], 1) for name in facts.families], 1)
    means: Floats = np.nanmean(by_family, 1) - facts.advantages
    return means


def image_mean(facts: Facts, others: Sequence[Facts]) -> Floats:
    """The plain mean of image AUROC over all cells."""
    del others
    plain: Floats = facts.image_cells.mean(1) - facts.advantages
    return plain


def worst_families(facts: Facts, others: Sequence[Facts]) -> Floats:
    """The mean over the half of the families in which a trial is worst."""
    del others
    by_family = np.stack([_away_mean(facts, facts.of_family(name)) for name in facts.families], 1)
    lowest: Floats = np.sort(by_family, axis=1)[:, : (by_family.shape[1] + 1) // 2].mean(1)
    return lowest


def borda(facts: Facts, others: Sequence[Facts]) -> Floats:
    """The mean rank over all cells, without trimming."""
    del others
    placed: Floats = stats.rankdata(facts.image_cells - facts.advantages[:, None], axis=0).mean(1)
    return placed


def middle(facts: Facts, others: Sequence[Facts]) -> Floats:
    """The mean over cells that are neither trivial nor hopeless to the candidates."""
    del others
    typical = np.median(facts.image_cells, 0)
    chosen = (typical > 0.6) & (typical < 0.95) & informative_cells(facts.image_cells)
    return _away_mean(facts, chosen if chosen.any() else np.ones(len(facts.cells), bool))


def family(name: str) -> Rule:
    """The mean over one family alone; a study without it says nothing of anybody."""

    def rule(facts: Facts, others: Sequence[Facts]) -> Floats:
        del others
        chosen = facts.of_family(name)
        if not chosen.any():
            return np.zeros(len(facts.trials))
        alone: Floats = facts.image_cells[:, chosen].mean(1) - facts.advantages
        return alone

    return rule


def prior(facts: Facts, others: Sequence[Facts]) -> Floats:
    """What the real defects of other sets say of configurations like these: a ridge regression on their settings.

    Where there is no other set, nothing is known.
    """
    if not others:
        return np.zeros(len(facts.trials))
    names = sorted({name for each in (*others, facts) for trial in each.trials for name in _features(trial)})
    column = {name: place for place, name in enumerate(names)}
    rows = np.concatenate([_encoded(each, column) for each in others])
    wanted = np.concatenate([_standard(each.real_aurocs) for each in others])
    weights = np.concatenate([np.full(len(each.trials), 1 / len(each.trials)) for each in others])
    model = Ridge(alpha=_RIDGE / np.mean([len(each.trials) for each in others])).fit(rows, wanted, weights)
    predicted: Floats = model.predict(_encoded(facts, column))
    return predicted


def mixed(facts: Facts, others: Sequence[Facts]) -> Floats:
    """Ranks of this study and of the prior together."""
    own, known = (_placed(rule(facts, others)) for rule in (ranks, prior))
    return (1 - PRIOR_SHARE) * own + PRIOR_SHARE * known


def _away_mean(facts: Facts, chosen: Flags) -> Floats:
    both = (facts.image_cells + facts.localisation_cells) / 2
    table = np.where(facts.home | ~chosen, np.nan, both)
    nothing = np.isnan(table).all(1)
    table[nothing] = both[nothing]
    means: Floats = np.nanmean(table, 1) - facts.advantages
    return means


def _features(trial: dict[str, object]) -> list[str]:
    """The settings of a configuration as words; levels with their backbone, for numbers of two networks differ."""
    params = trial["params"]
    assert isinstance(params, dict)
    words = [f"{key}={value}" for key, value in params.items() if key not in ("backbone", "levels", "seed", "members")]
    place = f"{trial['backbone']}{params.get('levels')}"
    general = [f"method={trial['method']}", f"backbone={trial['backbone']}", f"rule={trial['rule']}", place]
    return [*general, f"{trial['method']} {place}", *(f"{trial['method']}.{word}" for word in words)]


def _encoded(facts: Facts, column: dict[str, int]) -> Floats:
    table = np.zeros((len(facts.trials), len(column)))
    for row, trial in enumerate(facts.trials):
        table[row, [column[name] for name in _features(trial)]] = 1
    return table


def _standard(values: Floats) -> Floats:
    """In units of the set's own spread, about its own median: sets differ in difficulty."""
    spread = float(np.percentile(values, 75) - np.percentile(values, 25))
    scaled: Floats = (values - np.median(values)) / max(spread, 0.01)
    return scaled.clip(-3, 3)


def _placed(values: Floats) -> Floats:
    """Ranks, 0 to 1."""
    placed: Floats = (stats.rankdata(values) - 1) / max(1, len(values) - 1)
    return placed


RULES: dict[str, Rule] = {
    "ranks of image and localisation AUROC": ranks,
    "ranks of image AUROC": image_ranks,
    "ranks of localisation AUROC": localisation_ranks,
    "mean of both": mean,
    "mean of image AUROC": image_mean,
    "mean of the worse families": worst_families,
    "mean of cells that are neither trivial nor hopeless": middle,
    "Borda": borda,
    "prior alone": prior,
    "ranks with prior": mixed,
}
