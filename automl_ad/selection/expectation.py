"""What a search expects of its candidates on real defects, before it has seen one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from automl_ad.selection.decision import LeadModels, lead_models_for
from automl_ad.selection.records_ranking import contains_baseline
from automl_ad.store.records import CandidateRecord
from automl_ad.study.proposals import BASELINE_TRIAL

Floats = npt.NDArray[np.float64]
Ranking = Sequence[tuple[CandidateRecord, float]]
"""Candidates and their rank scores, the best first, as `ranking.ranked` gives them."""

RANKS_IN_AUROC = 0.2
"""Image AUROC between the first and the last of a ranking, as found on real sets among the candidates that are worth
choosing from."""


def expected_gains(
    ranks: Floats,
    leads: Floats,
    hedges: npt.NDArray[np.bool_],
    default: int | None,
    lead_models: LeadModels,
) -> tuple[Floats, Floats]:
    """What is expected of candidates beside the training-free default.

    Of finalists, what their leads were worth on real defects of other products (see `decision.LeadModel`). Of the
    others, as much as of one that is level with the default in the final check, and less by what they rank behind it.

    Args:
        ranks: float64 [T], rank scores, 0 to 1.
        leads: float64 [T], lead over the default in the final check; NaN where nobody knows.
        hedges: bool [T], averages that hold the default.
        default: Place of the default; None where it is not usable.
        outlooks: What leads are worth.

    Returns:
        float64 [T] each: gains in image AUROC, and the standard deviations of the truth about them.
    """
    reference = ranks.max() if default is None else ranks[default]
    gains = lead_models.single.start + RANKS_IN_AUROC * np.minimum(0.0, ranks - reference)
    spreads = np.full(len(ranks), lead_models.single.spread)
    for lead_model, kind in ((lead_models.single, ~hedges), (lead_models.average, hedges)):
        rows = kind & ~np.isnan(leads)
        gains[rows], spreads[rows] = lead_model.gain(leads[rows]), lead_model.spread
    if default is not None:  # as unsure as the averages that hold it
        gains[default], spreads[default] = 0.0, lead_models.average.spread
    return gains, spreads


def expected_of(ranking: Ranking) -> tuple[Floats, Floats]:
    """The same of the candidates of a study, at least one, with their rank scores."""
    records = [record for record, _ in ranking]
    place = {record.number: row for row, record in enumerate(records)}
    values = np.array([np.nan if record.certify is None else record.certify["value"] for record in records])
    default = place.get(BASELINE_TRIAL)
    return expected_gains(
        np.array([score for _, score in ranking]),
        np.full(len(records), np.nan) if default is None else values - values[default],
        np.array([contains_baseline(record) for record in records]),
        default,
        lead_models_for([record.backbone for record in records]),
    )
