"""The figures of an evaluation as words, the same in the terminal and on the page.

Imports nothing that is slow or that may be missing: every command prints by way of this.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from automl_ad.formatting import interval, number, rate, rate_interval


@dataclass(frozen=True)
class Figure:
    """One line of a table.

    Attributes:
        name: What was measured.
        value: With its unit; a dash where it could not be measured.
        interval: 90 % interval; a dash where there is none.
        unit: What the value is a share of, or its range.
        meaning: For readers who do not know the name.
    """

    name: str
    value: str
    interval: str
    unit: str
    meaning: str


_RANKS = (
    ("image_auroc", "image AUROC", "0 to 1", "chance that a defective image scores above a good one"),
    ("image_ap", "image AP", "0 to 1", "average precision of the image scores"),
    ("pixel_auroc", "pixel AUROC", "0 to 1", "the same for pixels; needs masks"),
    ("pixel_ap", "pixel AP", "0 to 1", "average precision of the pixel scores"),
    ("aupro", "AUPRO", "0 to 1", "overlap with each defect, large or small"),
    ("iap", "IAP", "0 to 1", "pixel precision averaged over the defects found"),
    ("iap90", "IAP@90", "0 to 1", "pixel precision when 90 % of the defects are found"),
)
_SHARES = (
    ("overkill", "overkill", "of good images", "good images called anomalous"),
    ("escapes", "escapes", "of defective images", "defective images missed"),
)
_MARKS = (
    ("mask_iou", "mask IoU", "0 to 1", "how well marked pixels cover the defects and nothing else"),
    ("marked_good", "marked on good", "of the pixels", "pixels marked on a good image, on average"),
)


def figures(answer: Mapping[str, Any]) -> list[Figure]:
    """The figures of an ``evaluate`` answer, from ranks to decisions; those of masks only where the bundle has any."""
    ranks = [_figure(answer, key, *words) for key, *words in _RANKS]
    shares = [_figure(answer, key, *words) for key, *words in _SHARES]
    marks = [_figure(answer, key, *words) for key, *words in _MARKS if key in answer]
    return ranks + shares + marks


def escapes_sentence(answer: Mapping[str, Any]) -> str:
    """How many defective images were missed, and that nobody promised anything about it."""
    count, of = round(answer["escapes"] * answer["images"]["defect"]), answer["images"]["defect"]
    verb = "not rejected" if answer.get("review") else "missed"
    return (
        f"{count} of {of} defective images were {verb} ({rate(answer['escapes'])}, 90 % interval "
        f"{rate_interval(answer['escapes_interval'])}); good images alone can promise nothing about that."
    )


def review_sentence(answer: Mapping[str, Any]) -> str:
    """How many images lie between the two thresholds; empty without a review."""
    review = answer.get("review")
    if not review:
        return ""
    good, defect, held = review["good"], review["defect"], review["good"]["reject"] + review["good"]["review"]
    return (
        f"{good['review']} good and {defect['review']} defective images lie between the thresholds and go to review; "
        f"{defect['pass']} defective ones pass. Rejected or reviewed are {rate(held / answer['images']['good'])} of "
        f"the good images; at most {rate(review['promised'])} were promised."
    )


def marked_sentence(answer: Mapping[str, Any]) -> str:
    """What was promised of the marked pixels; empty for a bundle that marks none."""
    if answer.get("marked_good") is None:
        return ""
    return (
        f"On good images {rate(answer['marked_good'])} of the pixels are marked on average; at most "
        f"{rate(answer['marked_promised'])} were promised."
    )


def _figure(answer: Mapping[str, Any], key: str, name: str, unit: str, meaning: str) -> Figure:
    value, bounds = answer.get(key), answer.get(f"{key}_interval")
    if unit.startswith("of "):
        return Figure(name, rate(value), rate_interval(bounds), unit, meaning)
    return Figure(name, number(value, 4), interval(bounds), unit, meaning)
