"""How a few real defects would rank candidates, apart from the search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from automl_ad.evaluation.intervals import auroc_interval
from automl_ad.evaluation.metrics import image_auroc
from automl_ad.review.album import Album
from automl_ad.review.operating_points import Share
from automl_ad.review.tried import Tried
from automl_ad.search.seeds import derived_rng

FEW = 10
"""With fewer defects an order is little more than chance."""


def by_real_defects(album: Album, heard: Sequence[Tried], seed: int) -> dict[str, Any] | None:
    """How candidates tell the user's defects from good pictures of the user's and from the suite's normals.

    Args:
        album: The pictures.
        heard: What the candidates make of them, at least one.
        seed: Of the study; drives the intervals.

    Returns:
        The part ``real`` of the answer of `trying.try_pictures`; None without readable defects.
    """
    labels = [album.pictures[row].label for row in album.readable]
    defects, good = labels.count("defect"), labels.count("good")
    if not defects:
        return None
    rows = [_figures(album, tried, seed) for tried in heard if tried.of_label(album, "defect").size]
    rows.sort(key=lambda row: -round(row["auroc"], 6))
    normals = len(heard[0].scale.files.normals)
    return {
        "good": good,
        "proxy_normals": normals,
        "defects": defects,
        "order": [row["number"] for row in rows],
        "trials": rows,
        "note": _note(defects, good, normals),
    }


def _figures(album: Album, tried: Tried, seed: int) -> dict[str, Any]:
    defects, good = tried.of_label(album, "defect"), tried.of_label(album, "good")
    scores = np.r_[tried.scale.files.normals, good, defects]
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
    return (
        f"This order comes from real defects: {defects} against {yours}{normals} held-out normals of the study. It "
        f"stands apart from the search, whose ranking and tied set it does not change.{caution}"
    )
