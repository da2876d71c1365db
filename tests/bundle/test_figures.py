from __future__ import annotations

from automl_ad.bundle.figures import figures
from automl_ad.results import EvaluationResult

_FOUND = {"images": {"good": 2, "defect": 2}, "image_auroc": 0.75, "image_ap": 0.8, "threshold": 1.0} | {
    "overkill": 0.0,
    "escapes": 0.5,
    "mask_threshold": 1.0,
    "marked_good": 0.01,
}
_OVER_PIXELS = ("pixel_auroc", "pixel_ap", "aupro", "iap", "iap90", "mask_iou")


def in_need(**pixels: float) -> list[str]:
    """The figures that say that masks are needed."""
    answer = EvaluationResult.model_validate(_FOUND | pixels)
    return [figure.name for figure in figures(answer) if "needs masks" in figure.meaning]


def test_masks_are_asked_for_only_where_there_are_none() -> None:
    assert in_need(**dict.fromkeys(_OVER_PIXELS, 0.5)) == []
    assert in_need() == ["pixel AUROC", "pixel AP", "AUPRO", "IAP", "IAP@90", "mask IoU"]
