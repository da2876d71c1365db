"""What a lead in the hold-out check is worth on real defects, and what is therefore expected of each candidate."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from automl_ad import tuned
from automl_ad.backbones.base import NO_BACKBONE, backbones_named
from automl_ad.backbones.names import EMBEDDED
from automl_ad.selection.ranking import contains_baseline, is_baseline
from automl_ad.store.records import CandidateRecord

Floats = npt.NDArray[np.float64]
Ranking = Sequence[tuple[CandidateRecord, float]]
"""Candidates and their rank scores, the best first, as `ranking.ranked` gives them."""


@dataclass(frozen=True)
class LeadModel:
    """How much of a lead over the training-free baseline in the hold-out check is found again on real defects.

    A linear regression over real sets: a finalist that led by x was better by ``start + share * x`` in real image AUROC
    on average, with a standard deviation of ``spread``. Estimated by ``studies/fidelity`` for each kind of finalist
    (docs/selection.md).

    Attributes:
        start: Intercept: expected gain of a candidate that is level with the baseline. Negative, because finalists were
            selected by the anomalies that they are then judged on.
        share: Slope: how much of a lead is found again.
        spread: Residual standard deviation.
    """

    start: float
    share: float
    spread: float

    def gain(self, lead: Floats) -> Floats:
        """Expected gain over the baseline, in real image AUROC."""
        return self.start + self.share * lead

    @property
    def break_even(self) -> float:
        """The lead from which on a gain is expected; infinite where leads are worth nothing."""
        return -self.start / self.share if self.share > 0 else float("inf")


class LeadModels(NamedTuple):
    """Lead models by the kind of finalist.

    Attributes:
        single: Single candidates.
        ensemble: Ensembles that contain the baseline: they cannot fall as far behind it.
    """

    single: LeadModel
    ensemble: LeadModel

    @property
    def telling(self) -> bool:
        """Whether any lead is worth something."""
        return self.single.share > 0 or self.ensemble.share > 0


NETWORK_LEADS = LeadModels(
    single=LeadModel(*tuned.NETWORK_SINGLE_LEAD), ensemble=LeadModel(*tuned.NETWORK_ENSEMBLE_LEAD)
)
"""Where pretrained networks are searched; estimated on the real sets of docs/benchmarks.md."""
FILTER_LEADS = LeadModels(single=LeadModel(*tuned.FILTER_SINGLE_LEAD), ensemble=LeadModel(*tuned.FILTER_ENSEMBLE_LEAD))
"""Where only the built-in filters are searched; on the same sets no lead was found again."""
IDENTITY_LEADS = LeadModel(0.0, 1.0, 0.0)
"""Of the baseline itself."""


def lead_models_for(backbones: Collection[str | None]) -> LeadModels:
    """The lead models of a study, by the backbones of its candidates; those of ensembles may be joined."""
    each = frozenset[str]().union(*map(backbones_named, backbones))
    return FILTER_LEADS if each <= {EMBEDDED, NO_BACKBONE} else NETWORK_LEADS


def expected_gains(
    ranks: Floats,
    leads: Floats,
    ensembles: npt.NDArray[np.bool_],
    baseline: int | None,
    lead_models: LeadModels,
) -> tuple[Floats, Floats]:
    """Expected gains of candidates over the training-free baseline.

    The gain of a finalist follows from its lead and the `LeadModel` of its kind. Any other candidate counts as level
    with the baseline in the hold-out check, less what it ranks behind it.

    Args:
        ranks: float64 [T], rank scores, 0 to 1.
        leads: float64 [T], lead over the baseline in the hold-out check; NaN where unknown.
        ensembles: bool [T], ensembles that contain the baseline.
        baseline: Index of the baseline; None where it is not usable.
        lead_models: What leads are worth.

    Returns:
        float64 [T] each: expected gains in image AUROC, and the standard deviations of the true gains about them.
    """
    reference = ranks.max() if baseline is None else ranks[baseline]
    gains = lead_models.single.start + tuned.RANK_RANGE * np.minimum(0.0, ranks - reference)
    spreads = np.full(len(ranks), lead_models.single.spread)
    for lead_model, kind in ((lead_models.single, ~ensembles), (lead_models.ensemble, ensembles)):
        rows = kind & ~np.isnan(leads)
        gains[rows], spreads[rows] = lead_model.gain(leads[rows]), lead_model.spread
    if baseline is not None:  # as uncertain as the ensembles that contain it
        gains[baseline], spreads[baseline] = 0.0, lead_models.ensemble.spread
    return gains, spreads


def expected_gains_of(ranking: Ranking) -> tuple[Floats, Floats]:
    """`expected_gains` of the candidates of a study, at least one, with their rank scores."""
    records = [record for record, _ in ranking]
    values = np.array([np.nan if record.holdout_score is None else record.holdout_score for record in records])
    baseline = next((row for row, record in enumerate(records) if is_baseline(record)), None)
    return expected_gains(
        np.array([score for _, score in ranking]),
        np.full(len(records), np.nan) if baseline is None else values - values[baseline],
        np.array([contains_baseline(record) for record in records]),
        baseline,
        lead_models_for([record.backbone for record in records]),
    )
