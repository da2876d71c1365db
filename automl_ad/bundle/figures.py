"""The figures of an evaluation as table rows and sentences, for the terminal and the HTML report.

Imports nothing heavy: the console tables of every command import this module.
"""

from __future__ import annotations

from dataclasses import dataclass

from automl_ad.formatting import interval, number, rate, rate_interval
from automl_ad.results import EvaluationResult


@dataclass(frozen=True)
class Figure:
    """One line of a table.

    Attributes:
        name: What was measured.
        value: With its unit; a dash where it is missing.
        interval: 90 % interval; a dash where it is missing.
        unit: What the value is a share of, or its range.
        meaning: A short definition.
    """

    name: str
    value: str
    interval: str
    unit: str
    meaning: str


_RANKS = (
    ("image_auroc", "image AUROC", "0 to 1", "probability that a defective image scores above a good one"),
    ("image_ap", "image AP", "0 to 1", "average precision of the image scores"),
    ("pixel_auroc", "pixel AUROC", "0 to 1", "the same over pixels"),
    ("pixel_ap", "pixel AP", "0 to 1", "average precision of the pixel scores"),
    ("aupro", "AUPRO", "0 to 1", "area under the per-region overlap curve; each defect counts the same"),
    ("iap", "IAP", "0 to 1", "instance average precision: pixel precision averaged over the defects found"),
    ("iap90", "IAP@90", "0 to 1", "pixel precision when 90 % of the defects are found"),
)
_NEED_MASKS = frozenset({"pixel_auroc", "pixel_ap", "aupro", "iap", "iap90", "mask_iou"})
"""Figures that are missing where no defect has a mask."""
_RATES = (
    ("overkill", "overkill", "of good images", "false positive rate: good images rejected"),
    ("escapes", "escapes", "of defective images", "false negative rate: defective images not rejected"),
)
_MASKS = (
    ("mask_iou", "mask IoU", "0 to 1", "intersection over union of marked and defective pixels"),
    ("marked_good", "marked on good", "of the pixels", "share of pixels marked on a good image, on average"),
)


def figures(answer: EvaluationResult) -> list[Figure]:
    """The figures of an ``evaluate`` answer: rank metrics, error rates, and mask metrics where the bundle has them."""
    ranks = [_figure(answer, key, *texts) for key, *texts in _RANKS]
    rates = [_figure(answer, key, *texts) for key, *texts in _RATES]
    masks = [_figure(answer, key, *texts) for key, *texts in _MASKS if answer.mask_threshold is not None]
    return ranks + rates + masks


def escapes_sentence(answer: EvaluationResult) -> str:
    """The escape rate (false negative rate), and that there is no guarantee on it."""
    of = answer.images.defect
    count, verb = round(answer.escapes * of), "not rejected" if answer.review else "missed"
    return (
        f"{count} of {of} defective images were {verb}: escapes (false negative rate) {rate(answer.escapes)}, "
        f"90 % interval {rate_interval(answer.escapes_interval)}; calibration on good images gives no guarantee on "
        "escapes."
    )


def review_sentence(answer: EvaluationResult) -> str:
    """How many images score between the two thresholds; empty without a review threshold."""
    review = answer.review
    if review is None:
        return ""
    good, defect, held = review.good, review.defect, review.good.reject + review.good.review
    return (
        f"{good.review} good and {defect.review} defective images score between the thresholds and go to review; "
        f"{defect.passed} defective ones pass. {rate(held / answer.images.good)} of the good images are "
        f"rejected or reviewed; the guarantee is at most {rate(review.promised)}."
    )


def marked_sentence(answer: EvaluationResult) -> str:
    """The share of marked pixels on good images and its guarantee; empty for a bundle without a mask threshold."""
    if answer.marked_good is None:
        return ""
    return (
        f"On good images {rate(answer.marked_good)} of the pixels are marked on average; the guarantee is at most "
        f"{rate(answer.marked_promised)}."
    )


def bias_correction_message(advantage: float) -> str:
    """Why a proxy score is lower than the mean of its families.

    Args:
        advantage: In-family bias that was subtracted from it, in AUROC.
    """
    return (
        f"{100 * advantage:.1f} points are subtracted from the proxy score, not from those of its families, to correct "
        "in-family bias: a candidate that was trained on some synthetic anomalies scores better on all of them, but "
        "less so on real defects."
    )


def _figure(answer: EvaluationResult, key: str, name: str, unit: str, meaning: str) -> Figure:
    value, bounds = getattr(answer, key), getattr(answer, f"{key}_interval", None)
    meaning += "; needs masks of the defects" if value is None and key in _NEED_MASKS else ""
    if unit.startswith("of "):
        return Figure(name, rate(value), rate_interval(bounds), unit, meaning)
    return Figure(name, number(value, 4), interval(bounds), unit, meaning)
