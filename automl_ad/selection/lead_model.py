"""What a lead in the hold-out check is worth on real defects, and what is therefore expected of each candidate."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from automl_ad.backbones.none import NO_BACKBONE
from automl_ad.backbones.zoo import EMBEDDED
from automl_ad.selection.ranking import BASELINE_TRIAL, contains_baseline
from automl_ad.store.records import CandidateRecord

Floats = npt.NDArray[np.float64]
Ranking = Sequence[tuple[CandidateRecord, float]]
"""Candidates and their rank scores, the best first, as `ranking.ranked` gives them."""

RANKS_IN_AUROC = 0.2
"""Image AUROC between the first and the last of a ranking, as found on real sets among the candidates that are worth
choosing from."""


@dataclass(frozen=True)
class LeadModel:
    """What a lead over the training-free default in the final check is worth on real defects.

    On real sets, who led by x there was better by ``start + share * x`` in real image AUROC on average, give or take
    ``spread``: found by ``studies/fidelity`` for all finalists of a kind (docs/selection.md).

    Attributes:
        start: What is expected of a candidate that is level with the default: less than nothing, since who gets into
            the final check was picked by the very anomalies that it is judged by.
        share: How much of a lead is found again.
        spread: Standard deviation of the truth about that line.
    """

    start: float
    share: float
    spread: float

    def gain(self, lead: Floats) -> Floats:
        """Expected gain over the default, in real image AUROC."""
        return self.start + self.share * lead

    @property
    def break_even(self) -> float:
        """The lead from which on a gain is expected; infinite where leads are worth nothing."""
        return -self.start / self.share if self.share > 0 else float("inf")


class LeadModels(NamedTuple):
    """Those of the kinds of finalists.

    Attributes:
        single: Candidates of their own.
        average: Averages that hold the default: they cannot fall as far behind it.
    """

    single: LeadModel
    average: LeadModel

    @property
    def telling(self) -> bool:
        """Whether any lead is worth something."""
        return self.single.share > 0 or self.average.share > 0


NETWORK_LEADS = LeadModels(single=LeadModel(-0.02, 0.28, 0.036), average=LeadModel(-0.017, 0.54, 0.016))
"""Where networks are searched; on the real sets of docs/benchmarks.md."""
FILTER_LEADS = LeadModels(single=LeadModel(-0.03, 0.0, 0.071), average=LeadModel(0.0, 0.0, 0.054))
"""Where the built-in filters are all there is: there leads came to nothing on the same sets."""
IDENTITY_LEADS = LeadModel(0.0, 1.0, 0.0)


def lead_models_for(backbones: Collection[str | None]) -> LeadModels:
    """What leads are worth in a study, by the backbones of its candidates."""
    return FILTER_LEADS if set(backbones) <= {EMBEDDED, NO_BACKBONE, None} else NETWORK_LEADS


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
