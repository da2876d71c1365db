"""Compares the outputs of an exported graph with those of its detector."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from automl_ad.bundle.precision import Precision
from automl_ad.errors import BundleError
from automl_ad.evaluation.metrics import Floats, image_auroc, resize_maps

LARGEST_RELATIVE = 1e-3
"""Tolerance for the scores of a float32 graph, as a share of their standard deviation."""
STRAY_SHARE = 0.03
"""Share of the images that may exceed it if the detector selects channels; at least one image."""
LARGEST_LOSS = 0.05
"""Largest loss of image AUROC by a lower precision."""
_LEAST_SPREAD = 1e-3
"""Lower bound of the spread as a share of the largest score: below it float32 has too few significant digits."""


@dataclass(frozen=True)
class Parity:
    """Differences between the outputs of a graph and of its detector.

    Attributes:
        images: Number of images compared.
        largest: Largest absolute difference of scores.
        spread: Standard deviation of the detector's scores.
        relative: ``largest`` as a share of ``spread``, which is taken as at least a thousandth of the largest score.
        beyond: Number of images whose score differs by more than the tolerance of a float32 graph.
        map_largest: Largest absolute difference of maps.
        decisions_changed: Number of images that are on the other side of the threshold.
        auroc_torch, auroc_onnx: Image AUROC of the detector and of the graph; None without images of both kinds, or if
            a score is not finite.
    """

    images: int
    largest: float
    spread: float
    relative: float
    beyond: int
    map_largest: float
    decisions_changed: int
    auroc_torch: float | None
    auroc_onnx: float | None


def compare(
    torch_scores: Floats,
    torch_maps: Floats,
    onnx_scores: Floats,
    onnx_maps: Floats,
    threshold: float,
    anomalous: npt.NDArray[np.bool_],
    graph_threshold: float | None = None,
) -> Parity:
    """Compares the outputs for the same images.

    Args:
        torch_scores: [N], of the detector.
        torch_maps: [N, h, w], of the detector, raw; enlarged here if those of the graph are larger.
        onnx_scores: [N], of the graph.
        onnx_maps: [N, H, W], of the graph.
        threshold: Score above which an image is rejected.
        anomalous: bool [N], ground truth.
        graph_threshold: Threshold for the scores of the graph; ``threshold`` if None.
    """
    expected, found = np.asarray(torch_scores, np.float64), np.asarray(onnx_scores, np.float64)
    large = torch_maps if torch_maps.shape == onnx_maps.shape else resize_maps(torch_maps, _size(onnx_maps))
    limit = threshold if graph_threshold is None else graph_threshold
    difference, spread = np.abs(expected - found), float(expected.std())
    shares = difference / _unit(spread, float(np.abs(expected).max()))
    return Parity(
        images=len(expected),
        largest=float(difference.max()),
        spread=spread,
        relative=float(shares.max()),
        beyond=int((shares > LARGEST_RELATIVE).sum()),
        map_largest=float(np.abs(large - onnx_maps).max()),
        decisions_changed=int(((expected > threshold) != (found > limit)).sum()),
        auroc_torch=_auroc(expected, anomalous),
        auroc_onnx=_auroc(found, anomalous),
    )


def require(parity: Parity, precision: Precision, selects_channels: bool = False) -> None:
    """Refuses a graph whose outputs differ too much from the detector's.

    Args:
        parity: Differences between graph and detector.
        precision: Numerical precision of the graph.
        selects_channels: See `Detector.selects_channels`: a few images may then
            exceed the tolerance.

    Raises:
        BundleError: In ``fp32``, scores differ by more than a thousandth of their spread or a decision changed; in
            fewer bits, scores are not finite or the image AUROC falls by more than 0.05.
    """
    if not np.isfinite(parity.largest):
        raise BundleError(f"The {precision} graph gives scores that are not finite numbers; export another precision.")
    if precision == "fp32":
        _require_equal(parity, max(1, int(STRAY_SHARE * parity.images)) if selects_channels else 0)
    elif parity.auroc_torch is not None and parity.auroc_onnx is not None:
        loss = parity.auroc_torch - parity.auroc_onnx
        if loss > LARGEST_LOSS:
            raise BundleError(
                f"The {precision} graph ranks images worse than the detector (image AUROC {parity.auroc_onnx:.3f} "
                f"instead of {parity.auroc_torch:.3f}); export it as fp32."
            )


def _require_equal(parity: Parity, strays: int) -> None:
    if parity.beyond > strays:
        raise BundleError(
            f"The graph's scores differ from the detector's by up to {parity.relative:.2g} standard deviations, on "
            f"{parity.beyond} of {parity.images} images by more than {LARGEST_RELATIVE:g}; export another trial."
        )
    if parity.decisions_changed:
        raise BundleError(
            f"The graph's decision differs from the detector's on {parity.decisions_changed} of {parity.images} "
            "images; export another trial."
        )


def _size(maps: Floats) -> tuple[int, int]:
    return maps.shape[1], maps.shape[2]


def _unit(spread: float, size: float) -> float:
    return max(spread, _LEAST_SPREAD * size) or 1.0


def _auroc(scores: Floats, anomalous: npt.NDArray[np.bool_]) -> float | None:
    if anomalous.all() or not anomalous.any() or not np.isfinite(scores).all():
        return None
    return image_auroc(scores, anomalous)
