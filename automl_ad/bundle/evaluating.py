"""Real metrics of a bundle on labelled images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from automl_ad.bundle.prediction import Bundle, Judgement
from automl_ad.data.labelled import LabelledImage
from automl_ad.errors import InputError
from automl_ad.evaluation.intervals import auroc_interval
from automl_ad.evaluation.metrics import image_ap, image_auroc, pixel_metrics, resize_maps

_Pair = tuple[LabelledImage, Judgement]
_PIXEL_KEYS = ("pixel_auroc", "pixel_ap", "aupro", "iap", "iap90")


def evaluate(bundle: Bundle, labelled: Sequence[LabelledImage]) -> dict[str, Any]:
    """Judges labelled images and compares.

    Images that cannot be read are left out and listed. Pixel metrics are computed at the working size, over good
    images (without a mask: all normal) and over the defects that have a mask; without any mask they are None.

    Args:
        bundle: A loaded bundle.
        labelled: Good and defective images.

    Returns:
        The ``evaluate`` answer: ``images`` (counts of ``good`` and ``defect``), ``image_auroc``,
        ``image_auroc_interval`` (90 % bootstrap), ``image_ap``, ``pixel_auroc``, ``pixel_ap``, ``aupro``, ``iap``,
        ``iap90``, ``threshold``, ``overkill`` and ``escapes`` (shares at the bundle's threshold), ``by_defect``
        (``image_auroc`` against all good images and ``n``, for each type) and ``errors`` (``path``, ``error``).

    Raises:
        InputError: No good or no defective image can be read, or a mask cannot.
    """
    judged = list(zip(labelled, bundle.judge([image.path for image in labelled]), strict=True))
    pairs = [pair for pair in judged if pair[1].error is None]
    scores = np.array([judgement.score for _, judgement in pairs])
    labels = np.array([image.anomalous for image, _ in pairs], dtype=bool)
    _require_both(labels, len(judged))
    threshold = bundle.threshold().value
    return {
        "images": {"good": int((~labels).sum()), "defect": int(labels.sum())},
        "image_auroc": image_auroc(scores, labels),
        "image_auroc_interval": list(auroc_interval(scores, labels, np.random.default_rng(bundle.manifest.facts.seed))),
        "image_ap": image_ap(scores, labels),
        **_pixel_metrics(bundle, pairs),
        "threshold": threshold,
        "overkill": float((scores[~labels] > threshold).mean()),
        "escapes": float((scores[labels] <= threshold).mean()),
        "by_defect": _by_defect(pairs, scores, labels),
        "errors": [{"path": str(image.path), "error": j.error} for image, j in judged if j.error is not None],
    }


def _require_both(labels: npt.NDArray[np.bool_], given: int) -> None:
    for kind, count in (("good", int((~labels).sum())), ("defective", int(labels.sum()))):
        if not count:
            raise InputError(
                f"Of the {given} labelled images no {kind} one can be judged: give readable images of both kinds."
            )


def _by_defect(
    pairs: Sequence[_Pair], scores: npt.NDArray[np.float64], labels: npt.NDArray[np.bool_]
) -> dict[str, dict[str, float | int]]:
    types = np.array([image.defect for image, _ in pairs])
    answer: dict[str, dict[str, float | int]] = {}
    for name in sorted(set(types[labels])):
        chosen = ~labels | (labels & (types == name))
        answer[str(name)] = {
            "image_auroc": image_auroc(scores[chosen], labels[chosen]),
            "n": int(labels[chosen].sum()),
        }
    return answer


def _pixel_metrics(bundle: Bundle, pairs: Sequence[_Pair]) -> dict[str, float | None]:
    nothing: dict[str, float | None] = dict.fromkeys(_PIXEL_KEYS)
    # A defect without a mask has anomalous pixels at places unknown.
    usable = [(image, j.anomaly_map) for image, j in pairs if image.mask is not None or not image.anomalous]
    if not any(image.anomalous for image, _ in usable):
        return nothing
    masks = np.stack([_mask(bundle, image) for image, _ in usable])
    if masks.all() or not masks.any():
        return nothing
    maps = resize_maps(np.stack([anomaly_map for _, anomaly_map in usable if anomaly_map is not None]), bundle.size)
    found = pixel_metrics(maps, masks)
    values = (found.auroc, found.ap, found.aupro, found.iap, found.iap_at_90)
    return dict(zip(_PIXEL_KEYS, values, strict=True))


def _mask(bundle: Bundle, image: LabelledImage) -> npt.NDArray[np.bool_]:
    if image.mask is None:
        return np.zeros(bundle.size, dtype=bool)
    return bundle.manifest.preprocessing.mask(image.mask)
