"""How a few real defects would rank candidates, apart from the search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from automl_ad.evaluation.intervals import auroc_interval
from automl_ad.evaluation.metrics import image_auroc
from automl_ad.reporting.operating_points import Share
from automl_ad.reporting.user_image_results import Floats, UserImageResults
from automl_ad.reporting.user_images import UserImages
from automl_ad.seeds import derived_rng
from automl_ad.selection.few_defects import Posterior, placements, posterior, reranking_message
from automl_ad.selection.lead_model import Ranking, expected_gains_of
from automl_ad.selection.ranking import ranked, usable
from automl_ad.study.study import Study

FEW = 10
"""With fewer defects an order is little more than chance."""


def by_real_defects(
    user_images: UserImages, results: Sequence[UserImageResults], study: Study
) -> dict[str, Any] | None:
    """How well candidates separate the user's defects from the user's good images and the validation normals.

    This evidence is combined with what the search expected of them, as `automl_ad.selection.few_defects.rerank`
    does: by their leads in the hold-out check and, for the rest, by their place in a ranking of all usable trials and
    of those judged, usable or not.

    Args:
        user_images: The images.
        results: Results of the candidates on them, at least one.
        study: Of the candidates.

    Returns:
        The part ``real`` of the answer of `user_image_trials.try_images`; None without readable defects.
    """
    labels = [user_images.pictures[row].label for row in user_images.readable]
    defects, good = labels.count("defect"), labels.count("good")
    if not defects:
        return None
    shown = [result for result in results if result.of_label(user_images, "defect").size]
    after = _posterior(user_images, shown, _ranking(results, study))
    seed = study.settings.seed
    rows = [_figures(user_images, shown[place], seed) | _expected(after, place) for place in after.order()]
    normals = len(results[0].scale.files.normals)
    return {
        "good": good,
        "proxy_normals": normals,
        "defects": defects,
        "order": [row["number"] for row in rows],
        "trials": rows,
        "note": _note(defects, good, normals),
    }


def _ranking(results: Sequence[UserImageResults], study: Study) -> Ranking:
    """Of all usable trials, and of those judged, usable or not."""
    records = study.repository.candidates(study.name)
    counted = {record.number for record in usable(records, study.settings)} | {result.number for result in results}
    return ranked([record for record in records if record.number in counted])


def _posterior(user_images: UserImages, shown: Sequence[UserImageResults], ranking: Ranking) -> Posterior:
    """Of the candidates with scores of the defects; the prior is what the search expected of them."""
    expected = np.stack(expected_gains_of(ranking), axis=1)
    by_number = {record.number: pair for (record, _), pair in zip(ranking, expected, strict=True)}
    rows = [row for row in user_images.readable if user_images.pictures[row].label == "defect"]
    evidence = [placements(_good(user_images, result), result.scores[rows]) for result in shown]
    prior, spreads = np.array([by_number[result.number] for result in shown]).reshape(-1, 2).T
    return posterior(prior, spreads, np.array(evidence).reshape(len(shown), len(rows)))


def _good(user_images: UserImages, result: UserImageResults) -> Floats:
    return np.concatenate([result.scale.files.normals, result.of_label(user_images, "good")])


def _expected(after: Posterior, place: int) -> dict[str, float]:
    figures = {"prior": after.prior, "posterior": after.means, "sd": after.deviations}
    return {name: float(values[place]) for name, values in figures.items()}


def _figures(user_images: UserImages, result: UserImageResults, seed: int) -> dict[str, Any]:
    defects, good = result.of_label(user_images, "defect"), result.of_label(user_images, "good")
    scores = np.r_[_good(user_images, result), defects]
    labels = np.arange(len(scores)) >= len(scores) - len(defects)
    threshold = result.scale.threshold.value
    return {
        "number": result.number,
        "auroc": image_auroc(scores, labels),
        # The same draws for all candidates: they are compared on the same images.
        "interval": auroc_interval(scores, labels, derived_rng(seed, "try")),
        "escapes": _share(defects <= threshold),
        "overkill": _share(good > threshold) if good.size else None,
    }


def _share(marks: npt.NDArray[np.bool_]) -> dict[str, Any]:
    return {key: value for key, value in asdict(Share.counted(marks)).items() if key != "in_family"}


def _note(defects: int, good: int, normals: int) -> str:
    yours = f"{good} good ones of yours and " if good else ""
    caution = f" With fewer than {FEW} defects it is largely chance." if defects < FEW else ""
    ground = f"The defects were compared with {yours}{normals} held-out normals of the study."
    return f"{reranking_message(defects)} {ground}{caution}"
