"""Metrics of a bundle on labelled images."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from automl_ad.bundle.evaluation_report import Scored, prepare_folder, write_report
from automl_ad.bundle.guarantees import check_guarantee
from automl_ad.bundle.pixel_evaluating import Map, MarkedPixels, Mask, mark, mean_interval, pixel_figures
from automl_ad.bundle.runtime import Bundle, Prediction, Threshold
from automl_ad.data.labelled import LabelledImage
from automl_ad.data.labelled_sets import LabelledSet
from automl_ad.data.masks import read_masks
from automl_ad.errors import InputError
from automl_ad.evaluation.intervals import BootstrapPlan, interval
from automl_ad.evaluation.metrics import auroc, image_ap, image_auroc
from automl_ad.evaluation.proportions import exact_interval
from automl_ad.evaluation.resampled import average_precision_draws, binned
from automl_ad.results import EvaluationResult
from automl_ad.store.plain_json import plain

_Floats = npt.NDArray[np.float64]

_ALL = ""
"""The cell of all defects in the bootstrap; no type of defect has an empty name."""


@dataclass(frozen=True)
class _ScoredImage:
    """One labelled image, its score, and what the metrics need of its map.

    Attributes:
        image: The image.
        score: NaN when there is an error.
        error: Why there is no score; None if there is one.
        pixels: Map and mask at the working size; None without a mask or where no image has one.
        marked: The pixels above the mask threshold.
        warnings: In what it is unlike the good images of the bundle.
    """

    image: LabelledImage
    score: float
    error: str | None = None
    pixels: tuple[Map, Mask] | None = None
    marked: MarkedPixels | None = None
    warnings: Sequence[str] = ()


def evaluate(
    bundle: Bundle, labelled: LabelledSet | Sequence[LabelledImage], output: Path | None = None
) -> EvaluationResult:
    """Scores labelled images and computes metrics with intervals.

    Images that cannot be read are left out and listed. Pixel metrics are computed at the working size, over good
    images (without a mask: all normal) and over the defects that have a mask; without any mask they are None.

    All intervals are 90 % intervals. Those of ``overkill`` and ``escapes`` are exact binomial intervals; the others
    come from one bootstrap over images, stratified by good and defective (in ``by_defect`` by each type).

    Args:
        bundle: A loaded bundle.
        labelled: Good and defective images.
        output: Folder for ``evaluation.html`` and ``evaluation.json``; created if needed. None writes no report.

    Raises:
        InputError: No good or no defective image can be read, a mask cannot, or ``output`` cannot be written.
    """
    if output is not None:
        prepare_folder(output)
    given = labelled if isinstance(labelled, LabelledSet) else LabelledSet(tuple(labelled))
    everything = _scored_images(bundle, given)
    scored = [item for item in everything if item.error is None]
    labels = np.array([item.image.anomalous for item in scored], dtype=bool)
    _require_both(labels, len(everything))
    errors = [{"path": str(item.image.path), "error": item.error} for item in everything if item.error]
    figures = EvaluationResult.model_validate(plain(_figures(bundle, scored, labels) | {"errors": errors}))
    answer = figures.model_copy(
        update={
            "layout": given.layout,
            "left_aside": given.left_aside,
            "warnings": (*given.warnings, *_warnings(everything)),
        }
    )
    if output is None:
        return answer
    shown = [Scored(item.image, item.score, given.mask_values) for item in scored]
    return answer.model_copy(update={"report": str(write_report(bundle, answer, shown, output))})


def _warnings(images: Sequence[_ScoredImage]) -> list[str]:
    unlike = [item for item in images if item.warnings]
    if not unlike:
        return []
    first = unlike[0]
    return [
        f"{len(unlike)} of {len(images)} images are unlike the good images that the bundle learned from, such as "
        f"{first.image.path}: {' '.join(first.warnings)}"
    ]


def _scored_images(bundle: Bundle, labelled: LabelledSet) -> list[_ScoredImage]:
    pixels, compare = bundle.mask_threshold(), any(image.masks for image in labelled.images)
    predictions = bundle.raw_predictions([image.path for image in labelled.images])
    return [
        _scored_image(image, prediction, _mask(image, bundle.size, labelled.mask_values), compare, pixels)
        for image, prediction in zip(labelled.images, predictions, strict=True)
    ]


def _scored_image(
    image: LabelledImage, prediction: Prediction, mask: Mask | None, compare: bool, threshold: Threshold
) -> _ScoredImage:
    if prediction.error is not None or prediction.anomaly_map is None:
        return _ScoredImage(image, prediction.score, prediction.error, warnings=prediction.warnings)
    anomaly_map = prediction.anomaly_map
    # Maps are large: those that no pixel metric needs are not kept.
    pixels = (anomaly_map, mask) if compare and mask is not None else None
    marked = mark(anomaly_map, mask, threshold.value)
    return _ScoredImage(image, prediction.score, None, pixels, marked, prediction.warnings)


def _mask(image: LabelledImage, size: tuple[int, int], values: Collection[int]) -> Mask | None:
    """The ground truth mask; None for a defect without one, since the positions of its pixels are unknown."""
    if not image.anomalous:
        return np.zeros(size, dtype=np.bool_)
    return read_masks(image.masks, image.path, size, values) if image.masks else None


def _require_both(labels: npt.NDArray[np.bool_], given: int) -> None:
    for kind, count in (("good", int((~labels).sum())), ("defective", int(labels.sum()))):
        if not count:
            raise InputError(
                f"None of the {given} labelled images is a readable {kind} one: give readable images of both kinds."
            )


def _figures(bundle: Bundle, scored: Sequence[_ScoredImage], labels: npt.NDArray[np.bool_]) -> dict[str, Any]:
    scores = np.array([item.score for item in scored], dtype=np.float64)
    types = np.array([item.image.defect for item in scored])[labels]
    good, bad, threshold = scores[~labels], scores[labels], bundle.threshold()
    plan = _plan(bundle, len(good), types)
    weights = np.empty((len(plan.normals), len(scored)))
    weights[:, ~labels], weights[:, labels] = plan.normals, plan.cells[_ALL]
    return {
        "images": {"good": len(good), "defect": len(bad)},
        "image_auroc": image_auroc(scores, labels),
        "image_auroc_interval": list(interval(plan.cell(_ALL, good, bad))),
        "image_ap": image_ap(scores, labels),
        "image_ap_interval": _ap_interval(scores, labels, weights),
        **_pixel_figures(scored, weights),
        "threshold": threshold.value,
        **_rate("overkill", good > threshold.value),
        **check_guarantee(good, threshold, bundle.calibration),
        **_rate("escapes", bad <= threshold.value),
        **_review(bundle, good, bad),
        **_marked(bundle, scored, weights),
        "by_defect": _by_defect(plan, good, bad, types, threshold.value),
    }


def _plan(bundle: Bundle, good: int, types: npt.NDArray[np.str_]) -> BootstrapPlan:
    """One resampling of the good images for all metrics; all defects first, then each type."""
    seed = bundle.manifest["facts"].get("seed") or 0
    counts = {str(name): int((types == name).sum()) for name in np.unique(types)}
    return BootstrapPlan.draw(good, {_ALL: len(types)} | counts, rng=np.random.default_rng(seed))


def _rate(name: str, chosen: npt.NDArray[np.bool_]) -> dict[str, Any]:
    count, of = int(chosen.sum()), len(chosen)
    return {name: count / of, f"{name}_interval": list(exact_interval(count, of))}


def _ap_interval(scores: _Floats, labels: npt.NDArray[np.bool_], weights: _Floats) -> list[float]:
    levels, bins = np.unique(scores, return_inverse=True)
    normal, anomalous = (binned(weights[:, kind], bins[kind], len(levels)) for kind in (~labels, labels))
    return list(interval(average_precision_draws(normal, anomalous)))


def _by_defect(
    plan: BootstrapPlan, good: _Floats, bad: _Floats, types: npt.NDArray[np.str_], threshold: float
) -> dict[str, dict[str, Any]]:
    answer: dict[str, dict[str, Any]] = {}
    for name in map(str, np.unique(types)):
        scores = bad[types == name]
        answer[name] = {
            "image_auroc": auroc(good, scores),
            "image_auroc_interval": list(interval(plan.cell(name, good, scores))),
            "n": len(scores),
            "found": int((scores > threshold).sum()),
            "escapes": int((scores <= threshold).sum()),
        }
    return answer


def _pixel_figures(scored: Sequence[_ScoredImage], weights: _Floats) -> dict[str, Any]:
    kept = [index for index, item in enumerate(scored) if item.pixels is not None]
    pixels = [item.pixels for item in scored if item.pixels is not None]
    return pixel_figures([each for each, _ in pixels], [mask for _, mask in pixels], weights[:, kept])


def _review(bundle: Bundle, good: _Floats, bad: _Floats) -> dict[str, Any]:
    review = bundle.review_threshold()
    if review is None:
        return {}
    reject = bundle.threshold().value
    counts = {"good": _decisions(good, reject, review.value), "defect": _decisions(bad, reject, review.value)}
    return {"review": {"threshold": review.value, "promised": review.overkill} | counts}


def _decisions(scores: _Floats, reject: float, review: float) -> dict[str, int]:
    rejected = scores > reject
    reviewed = ~rejected & (scores > review)
    counts = {"reject": rejected.sum(), "review": reviewed.sum(), "pass": (~rejected & ~reviewed).sum()}
    return {decision: int(count) for decision, count in counts.items()}


def _marked(bundle: Bundle, scored: Sequence[_ScoredImage], weights: _Floats) -> dict[str, Any]:
    threshold = bundle.mask_threshold()
    overlaps = {i: j.marked.iou for i, j in enumerate(scored) if j.marked and j.marked.iou is not None}
    shares = {i: j.marked.share for i, j in enumerate(scored) if j.marked and not j.image.anomalous}
    return {
        "mask_threshold": threshold.value,
        **_mean("mask_iou", overlaps, weights),
        **_mean("marked_good", shares, weights),
        "marked_promised": threshold.overkill,
    }


def _mean(name: str, values: dict[int, float], weights: _Floats) -> dict[str, Any]:
    """The mean of the values, by position of their images, and its interval."""
    mean = float(np.mean(list(values.values()))) if values else None
    return {name: mean, f"{name}_interval": mean_interval(list(values.values()), weights[:, list(values)])}
