"""Whether a graph says what the detector says that it was made from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from automl_ad.bundle.precision import Precision
from automl_ad.errors import BundleError
from automl_ad.evaluation.metrics import Floats, image_auroc, resize_maps

LARGEST_RELATIVE = 1e-3
"""By how much of their spread scores of a float32 graph may differ."""
STRAY_SHARE = 0.03
"""Share of the images that may differ by more, of a detector that chooses among channels; one image always may."""
LARGEST_LOSS = 0.05
"""Image AUROC that a graph of fewer bits may cost."""
_LEAST_SPREAD = 1e-3
"""Share of the size of scores that counts as their spread at least: of less, float32 leaves too few digits."""


@dataclass(frozen=True)
class Parity:
    """How a graph's answers differ from the detector's.

    Attributes:
        images: How many were compared.
        largest: Largest absolute difference of scores.
        spread: Standard deviation of the detector's scores.
        relative: ``largest`` as a share of ``spread``, which counts as a thousandth of the largest score at least.
        beyond: Images whose score differs by more than a float32 graph's may.
        map_largest: Largest absolute difference of maps.
        decisions_changed: Images on the other side of the threshold.
        auroc_torch, auroc_onnx: Image AUROC by the detector's and by the graph's scores; None without images of both
            kinds, or where scores are not finite.
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
    """Compares the answers to the same images.

    Args:
        torch_scores: [N], of the detector.
        torch_maps: [N, h, w], of the detector, raw; enlarged here where the graph's are larger.
        onnx_scores: [N], of the graph.
        onnx_maps: [N, H, W], of the graph.
        threshold: Score above which an image is rejected.
        anomalous: bool [N].
        graph_threshold: That of the graph, where it has one of its own.
    """
    expected, found = np.asarray(torch_scores, np.float64), np.asarray(onnx_scores, np.float64)
    large = torch_maps if torch_maps.shape == onnx_maps.shape else resize_maps(torch_maps, _size(onnx_maps))
    limit = threshold if graph_threshold is None else graph_threshold
    off, spread = np.abs(expected - found), float(expected.std())
    shares = off / _unit(spread, float(np.abs(expected).max()))
    return Parity(
        images=len(expected),
        largest=float(off.max()),
        spread=spread,
        relative=float(shares.max()),
        beyond=int((shares > LARGEST_RELATIVE).sum()),
        map_largest=float(np.abs(large - onnx_maps).max()),
        decisions_changed=int(((expected > threshold) != (found > limit)).sum()),
        auroc_torch=_auroc(expected, anomalous),
        auroc_onnx=_auroc(found, anomalous),
    )


def require(parity: Parity, precision: Precision, chooses: bool = False) -> None:
    """Refuses a graph that is not the detector.

    Args:
        parity: Of the graph.
        precision: What it computes in.
        chooses: Whether the detector chooses among channels, see `Detector.chooses`: a few images may then differ.

    Raises:
        BundleError: In ``fp32``, scores differ by more than a thousandth of their spread or a decision changed; in
            fewer bits, scores are not finite or the image AUROC falls by more than 0.05.
    """
    if not np.isfinite(parity.largest):
        raise BundleError(f"The {precision} graph gives scores that are not finite numbers; export another precision.")
    if precision == "fp32":
        _require_equal(parity, max(1, int(STRAY_SHARE * parity.images)) if chooses else 0)
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
            f"The graph's scores differ from the detector's by up to {parity.relative:.2g} of their spread, on "
            f"{parity.beyond} of {parity.images} images by more than {LARGEST_RELATIVE:g}; export another trial."
        )
    if parity.decisions_changed:
        raise BundleError(
            f"The graph decides {parity.decisions_changed} of {parity.images} images otherwise than the detector; "
            "export another trial."
        )


def _size(maps: Floats) -> tuple[int, int]:
    return maps.shape[1], maps.shape[2]


def _unit(spread: float, size: float) -> float:
    return max(spread, _LEAST_SPREAD * size) or 1.0


def _auroc(scores: Floats, anomalous: npt.NDArray[np.bool_]) -> float | None:
    if anomalous.all() or not anomalous.any() or not np.isfinite(scores).all():
        return None
    return image_auroc(scores, anomalous)
