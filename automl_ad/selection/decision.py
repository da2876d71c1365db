"""Which of the finalists wins: the one with the highest expected AUROC on real defects."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from automl_ad.selection.lead_model import IDENTITY_LEADS, LeadModel, LeadModels
from automl_ad.suggestions import suggested_command
from automl_ad.tuned import EQUAL, SURE, TIED

Floats = npt.NDArray[np.float64]

CLEARLY_FASTER = 2.0
"""Ratio of latencies from which on a candidate counts as faster: smaller ratios are timing noise."""


@dataclass(frozen=True)
class Finalist:
    """A candidate after the hold-out check, on the proxy and the hold-out suites together.

    Attributes:
        number: Trial number.
        value: Mean over families of image and localisation AUROC, 0 to 1, after the correction for in-family bias
            (`DetectorSettings.advantage`).
        draws: The same in bootstrap samples of images and families, float64 [B]; paired between finalists.
        latency_ms: For one image.
    """

    number: int
    value: float
    draws: Floats
    latency_ms: float


@dataclass(frozen=True)
class Decision:
    """The outcome of a search.

    Attributes:
        winner: Trial number.
        tied: Trial numbers of the tied set: the winner, then those with a probability of at least `TIED` of being
            better, in descending order of that probability.
        default_kept: Whether the winner is the baseline, since no other candidate is expected to be better by `EQUAL`,
            or none with a probability of at least `SURE`.
        chances: By trial number, the probability, 0 to 1, that the finalist is at least as good as the winner on real
            defects; in descending order.
        rival: Trial number of the baseline or, where it wins or is not usable, of the best other finalist; None for a
            single finalist.
        certainty: Probability, 0 to 1, that the winner is at least as good as the rival on real defects; 1 without a
            rival.
        why: Sentences for the user.
    """

    winner: int
    tied: tuple[int, ...]
    default_kept: bool
    chances: Mapping[int, float]
    rival: int | None
    certainty: float
    why: tuple[str, ...]


def decide(
    finalists: Sequence[Finalist], baseline: int | None, ensembles: Collection[int], lead_models: LeadModels
) -> Decision:
    """Chooses among finalists by their expected AUROC on real defects.

    The baseline stays the winner unless another candidate is expected to be better; a single candidate also needs a
    probability of improvement of at least `SURE`. Leads over the baseline are discounted by the lead models, which were
    estimated on real defects of other products. Where the baseline is not usable, the leader wins.

    Args:
        finalists: At least one, in the order of the proxy ranking.
        baseline: Trial number of the training-free baseline, if it is usable.
        ensembles: Trial numbers of ensembles that contain the baseline.
        lead_models: What leads are worth on real defects.
    """
    field = _Expectations(finalists, baseline, ensembles, lead_models)
    best = field.best([finalist for finalist in finalists if field.may_win(finalist)])
    winner = _fastest(best, field)
    chances, rival = _chances(winner, field), _rival(winner, field)
    tied = (winner.number, *(number for number, chance in chances.items() if chance >= TIED))
    return Decision(
        winner=winner.number,
        tied=tied,
        default_kept=winner is field.baseline,
        chances=chances,
        rival=None if rival is None else rival.number,
        certainty=1.0 if rival is None else field.better(winner, rival),
        why=(_first_reason(winner, best, field), *_more_reasons(winner, field, tied)),
    )


class _Expectations:
    """The finalists and their expected AUROC on real defects, relative to the baseline."""

    def __init__(
        self, finalists: Sequence[Finalist], baseline: int | None, ensembles: Collection[int], lead_models: LeadModels
    ) -> None:
        self.finalists = finalists
        self.baseline = next((finalist for finalist in finalists if finalist.number == baseline), None)
        self.leader = max(finalists, key=lambda finalist: round(finalist.value, 6))
        self._ensembles = ensembles
        self.lead_models = lead_models

    def contains_baseline(self, finalist: Finalist) -> bool:
        """Whether it is an ensemble that contains the baseline."""
        return finalist.number in self._ensembles

    def lead_model(self, finalist: Finalist) -> LeadModel:
        """What its leads are worth."""
        if finalist is self.baseline:
            return IDENTITY_LEADS
        ensemble = self.contains_baseline(finalist) and self.baseline is not None
        return self.lead_models.ensemble if ensemble else self.lead_models.single

    def lead(self, finalist: Finalist) -> float:
        """Its lead over the baseline in the hold-out check; without a baseline, over the leader."""
        return finalist.value - (self.baseline or self.leader).value

    def gain(self, finalist: Finalist) -> float:
        """Its expected gain over the baseline in real image AUROC; without a baseline, its lead."""
        lead = self.lead(finalist)
        return lead if self.baseline is None else float(self.lead_model(finalist).gain(np.asarray(lead)))

    def may_win(self, finalist: Finalist) -> bool:
        """Whether it may replace the baseline; of a single candidate more is asked than of an ensemble."""
        if self.baseline is None or finalist is self.baseline or self.contains_baseline(finalist):
            return True
        return self.better(finalist, self.baseline) >= SURE

    def best(self, finalists: Sequence[Finalist]) -> Finalist:
        """The one with the highest expected gain among some, at least one; the baseline unless it exceeds `EQUAL`."""
        return max(finalists, key=lambda each: round(self.gain(each) + EQUAL * (each is self.baseline), 6))

    def better(self, one: Finalist, other: Finalist) -> float:
        """Probability that ``one`` is at least as good as ``other`` on real defects."""
        reference = (self.baseline or self.leader).draws
        gains = [self.lead_model(each).gain(each.draws - reference) for each in (one, other)]
        spread = float(np.hypot(self.lead_model(one).spread, self.lead_model(other).spread))
        return float(np.mean(stats.norm.cdf((gains[0] - gains[1]) / spread)))


def _fastest(best: Finalist, field: _Expectations) -> Finalist:
    """The fastest candidate that is expected to be as good as the best and is faster by more than timing noise.

    The baseline is not given up for speed.
    """
    if best is field.baseline:
        return best
    enough = field.gain(best) - EQUAL if field.baseline is None else max(field.gain(best) - EQUAL, EQUAL)
    fast = [
        finalist
        for finalist in field.finalists
        if finalist.latency_ms * CLEARLY_FASTER <= best.latency_ms
        and field.gain(finalist) >= enough
        and field.may_win(finalist)
    ]
    return min(fast, key=lambda finalist: finalist.latency_ms, default=best)


def _chances(winner: Finalist, field: _Expectations) -> dict[int, float]:
    """Probability that each of the others is at least as good as the winner, in descending order."""
    found = {each.number: field.better(each, winner) for each in field.finalists if each is not winner}
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))


def _rival(winner: Finalist, field: _Expectations) -> Finalist | None:
    """The baseline or, if that wins or is not usable, the best other finalist."""
    if field.baseline is not None and field.baseline is not winner:
        return field.baseline
    others = [finalist for finalist in field.finalists if finalist is not winner]
    return field.best(others) if others else None


def _first_reason(winner: Finalist, best: Finalist, field: _Expectations) -> str:
    name, leader = f"Trial {winner.number}", field.leader
    if winner is field.baseline:
        name += ", the training-free baseline,"
    if winner is not best:
        return (
            f"{name} is expected to be as good as the best (trial {best.number}) within {100 * EQUAL:g} points on real "
            f"defects and needs {winner.latency_ms:.0f} ms instead of {best.latency_ms:.0f} ms an image."
        )
    if round(winner.value, 6) == round(leader.value, 6):
        return f"{name} leads in the hold-out check (proxy score {winner.value:.3f})."
    stays = "stays the winner" if winner is field.baseline else "is the safer choice"
    return (
        f"{name} {stays}: trial {leader.number} leads in the hold-out check ({leader.value:.3f} against "
        f"{winner.value:.3f}), but {_why_not(leader, winner, field)}."
    )


def _why_not(leader: Finalist, winner: Finalist, field: _Expectations) -> str:
    """Why the leader of the hold-out check did not win."""
    if field.baseline is not None and not field.may_win(leader) and field.gain(leader) >= EQUAL:
        percent = int(100 * field.better(leader, field.baseline))  # rounded down: it is less than what is required
        return (
            f"its probability of improvement over the baseline is {percent} %, and a single candidate needs "
            f"{100 * SURE:.0f} %, since the value of such leads varies between products"
        )
    if winner is field.baseline:
        return "such leads were not found again on real defects of other products"
    return "leads of single candidates are worth less on real defects than those of ensembles"


def _more_reasons(winner: Finalist, field: _Expectations, tied: Sequence[int]) -> Iterator[str]:
    baseline = field.baseline
    if baseline is None:
        yield (
            "There is no baseline that guards this choice: no training-free method was searched, or the baseline "
            "failed or exceeds a limit."
        )
    elif winner is not baseline:
        yield (
            f"It leads the training-free baseline, trial {baseline.number} ({baseline.value:.3f}), by "
            f"{100 * field.lead(winner):.1f} points; from leads and real defects of other products, a gain of "
            f"{100 * field.gain(winner):.1f} points is expected."
        )
    if baseline is not None and len(field.finalists) > 1 and not field.lead_models.telling:
        yield (
            "With the built-in filters alone no lead was found again on real sets; with a pretrained network leads "
            f"were. `{suggested_command('doctor')}` lists the ways to provide one."
        )
    if baseline is not None and field.contains_baseline(winner):
        yield "It is an ensemble of the baseline and the best others: errors of one member are outvoted by the rest."
    if len(tied) > 1:
        yield f"{len(tied)} candidates are in the tied set: each of the others may be better on real defects."


def limitations(families: Mapping[str, float], learned: Collection[str] = ()) -> list[str]:
    """What the search could not know, in sentences.

    Args:
        families: Scores of the winner by family.
        learned: Families that some finalist learned from.
    """
    seen = [name for name in families if name in learned]
    kinds = f"Some finalists learned from anomalies of {' and '.join(seen)}"
    if len(seen) == len(families):
        in_family = f"{kinds}, and there were no other families to compare them on: their scores are too high."
    else:
        in_family = f"{kinds}: these families did not count in the hold-out check."
    return [
        f"Only synthetic anomalies of {len(families)} families ({', '.join(families)}) were used, no real defect.",
        *([in_family] if seen else []),
        "Logical defects were not simulated: a wrong, misplaced or absent component, a wrong count or order.",
        "Nor was a distribution shift among normals (light, dirt, position, another batch): on two of eight real sets "
        "this, not the defects, decided which candidate was best.",
        "The proxy score ranks candidates; it does not predict the share of real defects that will be found.",
    ]
