"""Image and localisation scores of one candidate on a suite, and the proxy score computed from them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from automl_ad.evaluation.aggregation import AGGREGATIONS, localisation_scores, score_all
from automl_ad.evaluation.cells import Celled, cell_family, family_weights
from automl_ad.evaluation.intervals import BootstrapPlan, interval
from automl_ad.evaluation.metrics import auroc
from automl_ad.evaluation.suite import Suite
from automl_ad.seeds import derived_rng
from automl_ad.store.artifacts import load_arrays, save_arrays

Scores = npt.NDArray[np.float64]
SuiteMaps = Mapping[str, npt.NDArray[np.float32]]
"""Raw maps of a suite, float32 [n, h, w]: ``normal`` and ``anomaly``."""
PEAK = "max"
"""The aggregation of good images with which anomalies are compared for localisation AUROC."""
BOOTSTRAP_DRAWS = 400


@dataclass(frozen=True)
class SuiteScores:
    """Image scores of one candidate on one suite, under every score aggregation.

    Attributes:
        normals: By name of the aggregation, float64 [n].
        anomalies: By name of the aggregation, float64 [M], in the order of the suite.
        localisation: float64 [M], highest map value on each anomaly; empty where the masks are unknown.
    """

    normals: Mapping[str, Scores]
    anomalies: Mapping[str, Scores]
    localisation: Scores = field(default_factory=lambda: np.zeros(0))

    def cells(self, suite: Celled, aggregation: str) -> dict[str, float]:
        """Image AUROC of every cell."""
        return _by_cell(suite, self.normals[aggregation], self.anomalies[aggregation])

    def localisation_cells(self, suite: Celled) -> dict[str, float]:
        """Localisation AUROC of every cell: the highest values on the anomalies against the highest of the normals."""
        return _by_cell(suite, self.normals[PEAK], self.localisation)

    def draws(self, suite: Celled, aggregation: str, plan: BootstrapPlan, cells: Sequence[str] | None = None) -> Scores:
        """Bootstrap draws of each cell's mean of image and localisation AUROC, float64 [cells, B].

        Args:
            suite: What was scored.
            aggregation: For the image scores.
            plan: Resampling weights; draws of one plan are paired.
            cells: Names of cells; all when None.
        """
        names = suite.cell_names if cells is None else cells
        pairs = ((self.normals[aggregation], self.anomalies[aggregation]), (self.normals[PEAK], self.localisation))
        draws = [[plan.cell(cell, normal, anomaly[suite.members(cell)]) for normal, anomaly in pairs] for cell in names]
        means: Scores = np.mean(draws, axis=1)
        return means

    def save(self, path: Path) -> None:
        """Writes the scores, so that another aggregation needs no refit."""
        arrays = {f"normal/{k}": v for k, v in self.normals.items()} | {
            f"anomaly/{k}": v for k, v in self.anomalies.items()
        }
        save_arrays(path, located=self.localisation, **arrays)

    @classmethod
    def load(cls, path: Path) -> SuiteScores:
        """Reads what ``save`` wrote."""
        arrays = load_arrays(path)
        by_kind = {
            kind: {k.removeprefix(kind): v for k, v in arrays.items() if k.startswith(kind)}
            for kind in ("normal/", "anomaly/")
        }
        return cls(by_kind["normal/"], by_kind["anomaly/"], arrays["located"])


def pooled(first: SuiteScores, second: SuiteScores) -> SuiteScores:
    """The scores of one detector on two suites, as on one suite that holds the normals and anomalies of both."""

    def both(one: Mapping[str, Scores], other: Mapping[str, Scores]) -> dict[str, Scores]:
        return {aggregation: np.concatenate([values, other[aggregation]]) for aggregation, values in one.items()}

    localisation = np.concatenate([first.localisation, second.localisation])
    return SuiteScores(both(first.normals, second.normals), both(first.anomalies, second.anomalies), localisation)


def _by_cell(suite: Celled, normal: Scores, anomaly: Scores) -> dict[str, float]:
    return {cell: auroc(normal, anomaly[suite.members(cell)]) for cell in suite.cell_names}


@dataclass(frozen=True)
class ProxyScore:
    """The score of a candidate on a suite.

    Attributes:
        aggregation: The score aggregation.
        value: Mean of image and localisation AUROC over the families that it did not learn from, less ``advantage``; 0
            to 1.
        interval: 90 % bootstrap interval of ``value``.
        cells: Image AUROC of every cell.
        localisation: Localisation AUROC of every cell.
        families: Mean of both of every family.
        aggregations: Mean image AUROC under every aggregation, over the same families as ``value``.
        learned: Families that it learned from.
        advantage: In-family bias that was subtracted from ``value`` and ``interval``, and from nothing else.
    """

    aggregation: str
    value: float
    interval: tuple[float, float]
    cells: Mapping[str, float]
    localisation: Mapping[str, float]
    families: Mapping[str, float]
    aggregations: Mapping[str, float]
    learned: frozenset[str]
    advantage: float


def score_suite(maps: SuiteMaps, suite: Suite) -> SuiteScores:
    """Scores the maps of a suite under every score aggregation, and on the anomalies themselves.

    Args:
        maps: Maps of the normals and of the suite's anomalies.
        suite: The suite.

    Raises:
        FloatingPointError: A map value is not finite, or all values are equal.
    """
    if not all(np.isfinite(values).all() for values in maps.values()):
        raise FloatingPointError("the anomaly maps hold values that are not finite")
    if len({float(value) for values in maps.values() for value in (values.min(), values.max())}) == 1:
        raise FloatingPointError("all values of the anomaly maps are equal")
    scores = {kind: score_all(values, AGGREGATIONS, suite.anomalies.size) for kind, values in maps.items()}
    return SuiteScores(scores["normal"], scores["anomaly"], localisation_scores(maps["anomaly"], suite.masks))


def unlearned_cells(cells: Sequence[str], learned: Collection[str]) -> list[str]:
    """The cells of families that were not learned from; all if there is none."""
    return [cell for cell in cells if cell_family(cell) not in learned] or list(cells)


def proxy_score(
    scores: SuiteScores,
    suite: Celled,
    plan: BootstrapPlan,
    learned: Collection[str] = (),
    precedents: Sequence[Mapping[str, float]] = (),
    advantage: float = 0.0,
) -> ProxyScore:
    """Chooses the score aggregation and computes the proxy score with it, with an interval.

    Args:
        scores: Scores of the candidate.
        suite: The suite that was scored.
        plan: Resampling weights.
        learned: Families that it learned from, which do not count.
        precedents: `aggregation_means` of other candidates of its method, see ``shared_aggregation``.
        advantage: How much too high its method scores on synthetic anomalies, which is subtracted.
    """
    means = aggregation_means(scores, suite, learned)
    aggregation = shared_aggregation([*precedents, means])
    cells, localisation = scores.cells(suite, aggregation), scores.localisation_cells(suite)
    joint = {cell: (cells[cell] + localisation[cell]) / 2 for cell in suite.cell_names}
    families: dict[str, list[float]] = {}
    for cell, score in joint.items():
        families.setdefault(cell_family(cell), []).append(score)
    by_family = {family: float(np.mean(values)) for family, values in families.items()}
    unlearned = unlearned_cells(suite.cell_names, learned)
    draws = family_weights(unlearned) @ scores.draws(suite, aggregation, plan, unlearned)
    low, high = interval(draws)
    return ProxyScore(
        aggregation=aggregation,
        value=_less(_mean_of(joint, unlearned), advantage),
        interval=(_less(low, advantage), _less(high, advantage)),
        cells=cells,
        localisation=localisation,
        families=by_family,
        aggregations=means,
        learned=frozenset(learned),
        advantage=advantage,
    )


def quick_score(scores: SuiteScores, suite: Celled, learned: Collection[str] = (), advantage: float = 0.0) -> float:
    """The proxy score under the candidate's own best aggregation, without an interval; for pruning."""
    means, unlearned = aggregation_means(scores, suite, learned), unlearned_cells(suite.cell_names, learned)
    plain = (means[shared_aggregation([means])] + _mean_of(scores.localisation_cells(suite), unlearned)) / 2
    return _less(plain, advantage)


def _less(score: float, advantage: float) -> float:
    return max(0.0, score - advantage)


def _mean_of(cells: Mapping[str, float], names: Sequence[str]) -> float:
    """The mean over families of the means over their cells."""
    return float(family_weights(names) @ [cells[name] for name in names])


def aggregation_means(scores: SuiteScores, suite: Celled, learned: Collection[str] = ()) -> dict[str, float]:
    """Mean image AUROC under every aggregation, over the families other than ``learned``."""
    unlearned = unlearned_cells(suite.cell_names, learned)
    by_name = {each.name: scores.cells(suite, each.name) for each in AGGREGATIONS}
    return {aggregation: _mean_of(cells, unlearned) for aggregation, cells in by_name.items()}


def shared_aggregation(means: Sequence[Mapping[str, float]]) -> str:
    """The score aggregation that serves candidates of one method best on average.

    Which of many aggregations is best for a single candidate is mostly chance; which is best for its method is not.

    Args:
        means: Mean image AUROC under every aggregation, of each candidate; at least one.
    """
    totals = {aggregation: round(sum(each[aggregation] for each in means) / len(means), 6) for aggregation in means[0]}
    return max(totals, key=lambda name: totals[name])  # the first of equals: rounding errors must not decide


def plan_for(suite: Celled, normals: int, seed: int, purpose: str) -> BootstrapPlan:
    """Resampling weights for a suite, independent of the working size."""
    bases = {cell: [suite.bases[row] for row in suite.members(cell)] for cell in suite.cell_names}
    rng = derived_rng(seed, f"bootstrap/{purpose}")
    return BootstrapPlan.draw_by_base(normals, bases, BOOTSTRAP_DRAWS, rng=rng)
