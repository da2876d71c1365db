"""What a few real defects say of finished trials: Bayesian shrinkage of their evidence towards the expectation.

They re-rank the trials, apart from the search, and fit nothing anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from automl_ad.evaluation.metrics import Ranked, image_auroc
from automl_ad.results import ImageCounts, LeaderJudgement, RerankedTrial, RerankResult
from automl_ad.selection.lead_model import Ranking, expected_gains_of
from automl_ad.store.records import CandidateRecord
from automl_ad.tuned import IMAGE_NOISE, IMAGE_NOISE_WEIGHT, NORMALS_NOISE, SURE

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Posterior:
    """The expected image AUROC of each candidate, given the evidence.

    Attributes:
        prior: float64 [T], what was expected before, moved by a common offset to the level of the evidence; at most 1.
        means: float64 [T], what is expected now, on the same level.
        deviations: float64 [T], standard deviations of the truth about ``means``, less what all candidates share.
    """

    prior: Floats
    means: Floats
    deviations: Floats

    def order(self) -> list[int]:
        """Places of the candidates, the best first; equals in their own order."""
        return sorted(range(len(self.means)), key=lambda place: -round(float(self.means[place]), 9))

    def leader(self, incumbent: int, sure: float) -> int:
        """Place of the best of those that are truly better than the incumbent with a probability of at least ``sure``.

        The incumbent's own where there is none.
        """
        better = (place for place in self.order() if self.means[place] > self.means[incumbent])
        return next((place for place in better if self.certainty(place, incumbent) >= sure), incumbent)

    def certainty(self, one: int, other: int) -> float:
        """Probability, 0 to 1, that the candidate at one place is truly better than that at another."""
        apart = float(np.hypot(self.deviations[one], self.deviations[other]))
        difference = float(self.means[one] - self.means[other])
        return float(stats.norm.cdf(difference / apart)) if apart > 0 else float(np.sign(difference) / 2 + 0.5)


def placements(normals: Floats, defects: Floats) -> Floats:
    """Share of the normals that score lower than each defect, a tie counting one half.

    Their mean over defects is the image AUROC.

    Args:
        normals: float64 [n], at least one, finite.
        defects: float64 [k]; NaN where there is no score.

    Returns:
        float64 [k], 0 to 1; NaN where there is no score.
    """
    return np.where(np.isnan(defects), np.nan, Ranked.of(normals, defects).wins / len(normals))


def posterior(prior: Floats, spread: float | Floats, evidence: Floats) -> Posterior:
    """Shrinks the mean placement of each candidate towards what was expected of it.

    The placement of image i by candidate t is modelled as ``a_t + b_i + e_ti``. The truth of the candidate, ``a_t``,
    is normal about ``m_t + c``: the prior and an offset that all share and nobody knows. The difficulty of the image,
    ``b_i``, is the same for all candidates, which are compared on the same images, and cancels in the differences.
    The residual ``e_ti`` has variance s², and g, ``NORMALS_NOISE``, stands for the good images that the defects are
    placed among. With ``y_t`` the mean over k images and ``d_t`` the spread::

        v_t = d_t² + s²/k + g²        c = sum((y_t - m_t) / v_t) / sum(1 / v_t)        w_t = d_t² / v_t
        mean_t = m_t + c + w_t (y_t - m_t - c)        deviation_t² = d_t² (1 - w_t) + w_t² / sum(1 / v_t)

    s² is the mean square of the interaction, ``sum((p_ti - y_t - p_.i + p_..)²) / ((T - 1) (k - 1))``, mixed with a
    guess: ``IMAGE_NOISE`` q (1 - q), where q = (k p_.. + 1/2) / (k + 1) is the mean placement kept off 0 and 1. Many
    candidates are variations of a few: their residuals go together, so that T of them tell little more of s² than two
    would. The mean square therefore counts for k - 1 degrees of freedom, not (T - 1)(k - 1), beside
    ``IMAGE_NOISE_WEIGHT`` for the guess, and with one image the guess stands alone. That truths of like candidates go
    together as well does no harm: then all contrasts shrink by the same share as long as both variances are pooled over
    the same pairs.

    A candidate without a placement on every image is left at its prior and the common offset; without any evidence
    everything is as before. Where all lie so close together that some would come out above 1, all are lowered.

    Args:
        prior: float64 [T], expected image AUROC, finite; an offset common to all does not matter.
        spread: Standard deviation of the truth about it, 0 or more; one for all, or float64 [T].
        evidence: float64 [T, k], placements, 0 to 1; NaN where there is none.

    Returns:
        Never NaN, in the order of ``prior``.
    """
    deviations = np.broadcast_to(np.asarray(spread, dtype=np.float64), prior.shape)
    scored = ~np.isnan(evidence).any(axis=1)
    if not scored.any() or not evidence.shape[1]:
        return Posterior(prior.copy(), prior.copy(), deviations.copy())
    known, variance = evidence[scored], np.square(deviations)
    seen, moved = np.zeros(len(prior)), np.zeros(len(prior))
    noise = residual_variance(known) / known.shape[1] + NORMALS_NOISE**2
    weights = 1 / (variance[scored] + noise)
    precision = float(weights.sum())
    gaps = known.mean(axis=1) - prior[scored]
    offset = float((weights * gaps).sum() / precision)
    seen[scored] = variance[scored] * weights
    moved[scored] = gaps - offset
    before = prior + offset
    means = before + seen * moved
    over = max(0.0, float(max(before.max(), means.max())) - 1)
    return Posterior(before - over, means - over, np.sqrt(variance * (1 - seen) + seen**2 / precision))


def residual_variance(evidence: Floats) -> float:
    """The variance s² of `posterior`; always positive.

    Args:
        evidence: float64 [T, k], at least one of each, 0 to 1.
    """
    candidates, pictures = evidence.shape
    level = (pictures * float(evidence.mean()) + 0.5) / (pictures + 1)
    guess = float(IMAGE_NOISE * level * (1 - level))
    if min(candidates, pictures) < 2:
        return guess
    rows, columns = evidence.mean(axis=1, keepdims=True), evidence.mean(axis=0)
    squares = float(np.square(evidence - rows - columns + evidence.mean()).sum())
    return float((IMAGE_NOISE_WEIGHT * guess + squares / (candidates - 1)) / (IMAGE_NOISE_WEIGHT + pictures - 1))


@dataclass(frozen=True)
class Choice:
    """The trial that defects are to confirm or to replace.

    Attributes:
        number: Its trial number.
        final: Whether the search chose it; before it has, the baseline is the provisional choice or, where that is not
            usable, the first of the ranking.
    """

    number: int
    final: bool = True

    @property
    def description(self) -> str:
        """The trial and its role, as a phrase."""
        what = "the winner of the search" if self.final else "the provisional choice until the search has ended"
        return f"trial {self.number}, {what}"


@dataclass(frozen=True)
class Evidence:
    """What the detectors of finished trials say of real defects.

    Attributes:
        placements: float64 [T, k], share of the study's normals that the detector did not see which score lower than
            the defect, under the trial's own rule; a tie counts one half; NaN where a trial cannot give any.
        faults: By trial number, why it cannot.
    """

    placements: Floats
    faults: Mapping[int, str]


def rerank(ranking: Ranking, choice: Choice, evidence: Evidence, notes: Sequence[str] = ()) -> RerankResult:
    """Re-ranks finished trials by a few real defects: the expectation of the search, updated by their placements.

    The leader is the first trial whose probability of improvement over the choice is at least `tuned.SURE`, else the
    choice; where the choice is not among the trials, the first of all.

    Args:
        ranking: Finished, usable trials in the order of the search, at least one.
        choice: What the search chose, or the provisional choice.
        evidence: Placements of the defects by these trials.
        notes: Sentences on defects that were left out.
    """
    records = [record for record, _ in ranking]
    after = posterior(*expected_gains_of(ranking), evidence.placements)
    numbers = [record.number for record in records]
    order = after.order()
    chosen = numbers.index(choice.number) if choice.number in numbers else None
    leader = order[0] if chosen is None else after.leader(chosen, SURE)
    certainty = None if chosen is None or chosen == leader else after.certainty(leader, chosen)
    defects = evidence.placements.shape[1]
    sentences = [
        _verdict(numbers[leader], numbers[order[0]], choice, certainty),
        reranking_message(defects),
        *_gaps(evidence, len(records)),
        *notes,
    ]
    return RerankResult(
        images=defects,
        order=tuple(numbers[place] for place in order),
        leader=numbers[leader],
        changed=numbers[leader] != choice.number,
        certainty=certainty,
        trials=tuple(_trial(records[place], place, evidence, after) for place in order),
        note=" ".join(sentences),
    )


def reranking_message(defects: int) -> str:
    """How to read an order by a few real defects."""
    counted = "1 real defect" if defects == 1 else f"{defects} real defects"
    return (
        f"This order combines {counted} with what the search expected; the fewer the defects, the more the search "
        "counts. It does not change the winner, ranking or tied set of the search."
    )


def judge_leader(
    numbers: Sequence[int],
    scores: Floats,
    labels: npt.NDArray[np.bool_],
    shown: npt.NDArray[np.bool_],
    leader: int,
    selected: int,
) -> LeaderJudgement:
    """Judges the leader of a re-ranking by labelled images that had no part in it.

    Args:
        numbers: Trial numbers.
        scores: float64 [trials, images], higher = more anomalous.
        labels: bool [images], defective.
        shown: bool [images], among the defects that re-ranked.
        leader: Its trial number.
        selected: That of the search's choice.
    """
    kept = labels[~shown]
    good, defects = int((~kept).sum()), int(kept.sum())
    images = ImageCounts(good=good, defect=defects)
    counted = int(shown.sum())
    note = f"{counted} labelled images are among the defects that re-ranked and do not judge." if counted else ""
    if not (good and defects):
        nothing = f"{note} Nothing is left to judge by."
        return LeaderJudgement(leader=leader, images=images, regret=None, selected_regret=None, note=nothing)
    real = np.array([image_auroc(row[~shown], kept) for row in scores])
    regrets = dict(zip(numbers, (100 * (real.max() - real)).round(4).tolist(), strict=True))
    return LeaderJudgement(
        leader=leader,
        images=images,
        regret=regrets.get(leader),
        selected_regret=regrets.get(selected),
        note=note,
    )


def _trial(record: CandidateRecord, place: int, evidence: Evidence, after: Posterior) -> RerankedTrial:
    seen = evidence.placements[place]
    return RerankedTrial(
        number=record.number,
        method=record.method,
        backbone=record.backbone,
        prior=float(after.prior[place]),
        mean_placement=None if np.isnan(seen).any() else float(seen.mean()),
        posterior=float(after.means[place]),
        sd=float(after.deviations[place]),
    )


def _verdict(leader: int, first: int, choice: Choice, certainty: float | None) -> str:
    known = f"{choice.description.capitalize()},"
    if leader == choice.number == first:
        return f"{known} leads with the real defects as well."
    if leader == choice.number:
        return (
            f"{known} stays: trial {first} comes first with the real defects, but no other trial has a probability of "
            f"improvement of {100 * SURE:.0f} % or more."
        )
    odds = "" if certainty is None else f"; its probability of improvement is {100 * certainty:.0f} %"
    behind = "" if leader == first else f" (that of trial {first}, which comes first, is lower)"
    return f"Trial {leader} leads with the real defects, not {choice.description}{odds}{behind}."


def _gaps(evidence: Evidence, trials: int) -> list[str]:
    """Which trials have no scores of the defects, in sentences."""
    if not evidence.faults:
        return []
    by_reason: dict[str, list[int]] = {}
    for number, reason in evidence.faults.items():
        by_reason.setdefault(reason, []).append(number)
    listed = "; ".join(f"{', '.join(map(str, numbers))} ({reason})" for reason, numbers in by_reason.items())
    return [f"{len(evidence.faults)} of {trials} trials have no scores of the defects and keep their prior: {listed}."]
