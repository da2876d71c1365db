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
from automl_ad.reporting.user_image_results import Floats, Tried
from automl_ad.reporting.user_images import UserImages
from automl_ad.seeds import derived_rng
from automl_ad.selection.few_defects import reranking_message
from automl_ad.selection.lead_model import Ranking, expected_gains_of
from automl_ad.selection.ranking import ranked, usable
from automl_ad.selection.shrinkage import Posterior, placements, posterior
from automl_ad.study.study import Study

FEW = 10
"""With fewer defects an order is little more than chance."""


def by_real_defects(album: UserImages, heard: Sequence[Tried], study: Study) -> dict[str, Any] | None:
    """How candidates tell the user's defects from good pictures of the user's and from the suite's normals.

    What that says is weighed against what the search expected of them, as `automl_ad.selection.few_defects.rerank`
    does: by their leads in the final check and, for the rest, by their place in a ranking of all usable trials and
    of those tried, usable or not.

    Args:
        album: The pictures.
        heard: What the candidates make of them, at least one.
        study: Of the candidates.

    Returns:
        The part ``real`` of the answer of `trying.try_images`; None without readable defects.
    """
    labels = [album.pictures[row].label for row in album.readable]
    defects, good = labels.count("defect"), labels.count("good")
    if not defects:
        return None
    shown = [tried for tried in heard if tried.of_label(album, "defect").size]
    after = _posterior(album, shown, _ranking(heard, study))
    rows = [_figures(album, shown[place], study.settings.seed) | _expected(after, place) for place in after.order()]
    normals = len(heard[0].scale.files.normals)
    return {
        "good": good,
        "proxy_normals": normals,
        "defects": defects,
        "order": [row["number"] for row in rows],
        "trials": rows,
        "note": _note(defects, good, normals),
    }


def _ranking(heard: Sequence[Tried], study: Study) -> Ranking:
    """Of all usable trials, and of those that the user tries whether they are usable or not."""
    records = study.repository.candidates(study.name)
    counted = {record.number for record in usable(records, study.settings)} | {tried.number for tried in heard}
    return ranked([record for record in records if record.number in counted])


def _posterior(album: UserImages, shown: Sequence[Tried], ranking: Ranking) -> Posterior:
    """Of the candidates that were shown the defects; with what the search expected of them."""
    expected = np.stack(expected_gains_of(ranking), axis=1)
    by_number = {record.number: pair for (record, _), pair in zip(ranking, expected, strict=True)}
    rows = [row for row in album.readable if album.pictures[row].label == "defect"]
    evidence = [placements(_good(album, tried), tried.scores[rows]) for tried in shown]
    prior, spreads = np.array([by_number[tried.number] for tried in shown]).reshape(-1, 2).T
    return posterior(prior, spreads, np.array(evidence).reshape(len(shown), len(rows)))


def _good(album: UserImages, tried: Tried) -> Floats:
    return np.concatenate([tried.scale.files.normals, tried.of_label(album, "good")])


def _expected(after: Posterior, place: int) -> dict[str, float]:
    figures = {"prior": after.prior, "posterior": after.means, "sd": after.deviations}
    return {name: float(values[place]) for name, values in figures.items()}


def _figures(album: UserImages, tried: Tried, seed: int) -> dict[str, Any]:
    defects, good = tried.of_label(album, "defect"), tried.of_label(album, "good")
    scores = np.r_[_good(album, tried), defects]
    labels = np.arange(len(scores)) >= len(scores) - len(defects)
    threshold = tried.scale.threshold.value
    return {
        "number": tried.number,
        "auroc": image_auroc(scores, labels),
        # The same draws for all candidates: they are compared on the same pictures.
        "interval": auroc_interval(scores, labels, derived_rng(seed, "try")),
        "escapes": _share(defects <= threshold),
        "overkill": _share(good > threshold) if good.size else None,
    }


def _share(marks: npt.NDArray[np.bool_]) -> dict[str, Any]:
    return {key: value for key, value in asdict(Share.counted(marks)).items() if key != "home"}


def _note(defects: int, good: int, normals: int) -> str:
    yours = f"{good} good ones of yours and " if good else ""
    caution = f" With fewer than {FEW} defects much of it is chance." if defects < FEW else ""
    ground = f"The defects were held against {yours}{normals} held-out normals of the study."
    return f"{reranking_message(defects)} {ground}{caution}"
