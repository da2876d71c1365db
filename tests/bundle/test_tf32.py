"""TF32, in which GPUs compute convolutions by default, emulated: why studies turn it off (`full_float32`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from exportable import RULE, SIZE, draw_parts, pictures, unfitted
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from automl_ad.bundle.onnx_export import export_graph, run_graph
from automl_ad.bundle.parity import Parity, compare, require
from automl_ad.data.image_set import ImageSet
from automl_ad.errors import BundleError
from automl_ad.evaluation.aggregation import score_maps
from automl_ad.methods.features import FeatureDetector
from automl_ad.training import Budget, ignore_progress

ROUNDED = {torch.conv2d, functional.conv2d, torch.bmm, torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__}


def rounded(values: Any) -> Any:
    """float32 values to the 10 bits that TF32 keeps of their fraction, to the nearest."""
    if not isinstance(values, Tensor) or values.dtype != torch.float32:
        return values
    bits = values.contiguous().view(torch.int32)
    return ((bits + 0x1000) & ~0x1FFF).view(torch.float32)


class Tf32(TorchFunctionMode):
    """Convolutions and products of rounded factors, as tensor cores compute them."""

    def __torch_function__(
        self, function: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if function in ROUNDED:
            args = (rounded(args[0]), rounded(args[1]), *args[2:])
        return function(*args, **(kwargs or {}))


def test_rounding_by_hand() -> None:
    step = 2.0**-10
    given = torch.tensor([1.0, 1 + step, 1 + 0.4 * step, 1 + 0.6 * step, -3.0, 0.0])
    assert rounded(given).tolist() == [1.0, 1 + step, 1.0, 1 + step, -3.0, 0.0]
    with Tf32():
        product = functional.conv2d(given[3].view(1, 1, 1, 1), torch.ones(1, 1, 1, 1))
    assert product.item() == 1 + step


def parity(detector: FeatureDetector, graph: bytes) -> Parity:
    maps = detector.anomaly_maps(ImageSet.from_hwc(list(pictures())))
    scores = score_maps(maps, RULE, SIZE)
    found_maps, found_scores = run_graph(graph, pictures())
    return compare(scores, maps, found_scores, found_maps, float(np.median(scores)), np.arange(8) >= 4)


@pytest.mark.parametrize("name", ["padim-network", "patchcore-network"])
def test_scores_computed_in_tf32_are_not_those_of_the_graph(name: str) -> None:
    detector = unfitted(name)
    with Tf32():
        detector.fit(ImageSet.from_hwc(list(draw_parts(10, 0))), None, Budget(), ignore_progress)
    graph = export_graph(detector, RULE, SIZE)
    with Tf32():
        emulated = parity(detector, graph)
    exact = parity(detector, graph)
    require(exact, "fp32")
    assert emulated.relative > 20 * exact.relative
    if name.startswith("patchcore"):  # small differences of neighbours: the check refuses the export
        with pytest.raises(BundleError, match="differ from the detector's"):
            require(emulated, "fp32")
