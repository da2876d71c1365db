"""What a few real defects add to what was expected of candidates: shrinkage of the evidence towards the expectation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]

NOISE = 0.2
"""Variance of what an image does to one candidate beside others, as a share of m (1 - m) at a mean placement m: on
real sets it is 0.07 to 0.22. It stands in for images that are too few to tell."""
NOISE_PICTURES = 2.0
"""How many images that guess is worth."""
NORMALS_NOISE = 0.02
"""Standard deviation, between candidates, of what other good images would make of the same defects: on real sets
0.01 to 0.03. However many the defects, those that they are placed among are a sample, too, and not tomorrow's."""


@dataclass(frozen=True)
class Posterior:
    """What is expected of each candidate once the evidence is heard.

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
    ordered = np.sort(normals)
    below, up_to = (np.searchsorted(ordered, defects, side) for side in ("left", "right"))
    return np.where(np.isnan(defects), np.nan, (below + up_to) / (2 * len(normals)))


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
    guess: ``NOISE`` q (1 - q), where q = (k p_.. + 1/2) / (k + 1) is the mean placement kept off 0 and 1. Many
    candidates are variations of a few: their residuals go together, so that T of them tell little more of s² than two
    would. The mean square therefore counts for k - 1 degrees of freedom, not (T - 1)(k - 1), beside ``NOISE_PICTURES``
    for the guess, and with one image the guess stands alone. That truths of like candidates go together as well does
    no harm: then all contrasts shrink by the same share as long as both variances are pooled over the same pairs.

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
    heard = ~np.isnan(evidence).any(axis=1)
    if not heard.any() or not evidence.shape[1]:
        return Posterior(prior.copy(), prior.copy(), deviations.copy())
    known, variance = evidence[heard], np.square(deviations)
    seen, moved = np.zeros(len(prior)), np.zeros(len(prior))
    noise = residual_variance(known) / known.shape[1] + NORMALS_NOISE**2
    weights = 1 / (variance[heard] + noise)
    precision = float(weights.sum())
    gaps = known.mean(axis=1) - prior[heard]
    offset = float((weights * gaps).sum() / precision)
    seen[heard] = variance[heard] * weights
    moved[heard] = gaps - offset
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
    guess = float(NOISE * level * (1 - level))
    if min(candidates, pictures) < 2:
        return guess
    rows, columns = evidence.mean(axis=1, keepdims=True), evidence.mean(axis=0)
    squares = float(np.square(evidence - rows - columns + evidence.mean()).sum())
    return float((NOISE_PICTURES * guess + squares / (candidates - 1)) / (NOISE_PICTURES + pictures - 1))
