"""The hold-out check: the best few candidates judged anew, on the proxy and the hold-out suites together."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt

from automl_ad.evaluation.cells import Celled, Cells, cell_family, family_weights, joined
from automl_ad.evaluation.intervals import BootstrapPlan
from automl_ad.evaluation.suite_scores import BOOTSTRAP_DRAWS, SuiteScores, plan_for, pooled, unlearned_cells
from automl_ad.methods.names import ENSEMBLE
from automl_ad.seeds import derived_rng
from automl_ad.selection.decision import Finalist
from automl_ad.store.records import CandidateRecord

Floats = npt.NDArray[np.float64]


class PooledSuites:
    """The proxy and the hold-out suites as one, on which all finalists are compared.

    The proxy suite, which ranks all trials, holds few images, so that the first of a ranking is partly lucky with them.
    The hold-out suite brings other images and anomalies. Pooled they are more informative than either: every anomaly is
    compared with all good images that the candidate did not learn from.

    Args:
        proxy: Cells of the proxy suite.
        holdout: Cells of the hold-out suite.
        normals: How many good images belong to each of the two.
        seed: Of the study.
        learned: Families that some finalist learned from: they count for none, so that all are compared on the same
            cells.
    """

    def __init__(
        self, proxy: Celled, holdout: Celled, normals: tuple[int, int], seed: int, learned: Collection[str]
    ) -> None:
        self._cells = joined([proxy, holdout], ["proxy", "certify"], list(normals))
        self._away = unlearned_cells(self._cells.cell_names, learned)
        self._plan = plan_for(self._cells, sum(normals), seed, "certify")
        self._families = _family_draws(self._away, seed)

    def finalist(self, record: CandidateRecord, proxy: SuiteScores, holdout: SuiteScores) -> Finalist:
        """Judges a candidate.

        Args:
            record: The candidate.
            proxy: Its scores on the proxy suite.
            holdout: Its scores on the hold-out suite.
        """
        scores, aggregation = pooled(proxy, holdout), str(record.rule)
        draws = scores.draws(self._cells, aggregation, self._plan, self._away)
        exact = scores.draws(self._cells, aggregation, _every_image_once(self._plan, self._cells), self._away)
        mean_draws: Floats = (self._families * draws).sum(axis=0)
        value = float((family_weights(self._away) @ exact).item())
        advantage = record.advantage
        return Finalist(record.number, value - advantage, mean_draws - advantage, float(record.latency_ms or 0))


def _every_image_once(plan: BootstrapPlan, cells: Cells) -> BootstrapPlan:
    """The plan that counts every image once."""
    normals = np.ones((1, plan.normals.shape[1]))
    return BootstrapPlan(normals, {cell: np.ones((1, len(cells.members(cell)))) for cell in cells.cell_names})


def _family_draws(cells: Sequence[str], seed: int) -> Floats:
    """How much each cell counts in each bootstrap sample of families, float64 [cells, B]; columns sum to one."""
    names = [cell_family(cell) for cell in cells]
    families = list(dict.fromkeys(names))
    rng = derived_rng(seed, "bootstrap/families")
    drawn = rng.multinomial(len(families), np.full(len(families), 1 / len(families)), size=BOOTSTRAP_DRAWS)
    weights: Floats = family_weights(cells)[:, None] * drawn[:, [families.index(name) for name in names]].T
    return weights


def shortlist(
    ranking: Sequence[tuple[CandidateRecord, float]], count: int, baseline: int, ensembles: Collection[int]
) -> list[CandidateRecord]:
    """The best few candidates of a ranking, the ensembles, and the baseline whatever its rank.

    Args:
        ranking: Records and rank scores, the best first.
        count: How many, ensembles left out.
        baseline: Trial number of the baseline.
        ensembles: Trial numbers of the ensembles that compete.
    """
    singles = [record.number for record, _ in ranking if record.method != ENSEMBLE]
    chosen = {*singles[:count], baseline, *ensembles}
    return [record for record, _ in ranking if record.number in chosen]


NEEDED = 2
"""Finalists without which the hold-out check says nothing: the leader and the baseline."""


def by_need(chosen: Sequence[CandidateRecord], baseline: int) -> list[CandidateRecord]:
    """The finalists in the order in which they are checked: the leader, the baseline, ensembles, and the others.

    Args:
        chosen: The finalists, the best first, at least one.
        baseline: Trial number of the baseline.
    """
    leader = chosen[0].number

    def need(record: CandidateRecord) -> int:
        if record.number in (leader, baseline):
            return 0
        return 1 if record.method == ENSEMBLE else 2

    return sorted(chosen, key=need)


def learned_families(records: Sequence[CandidateRecord]) -> frozenset[str]:
    """Families that some of the candidates learned from."""
    return frozenset[str]().union(*(record.learned_from for record in records))
