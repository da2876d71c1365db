"""Exported graphs against their detectors on real images: differences of scores, AUROC, latency and size.

Each method at its default of an effort, exported in 32 bits, 16 bits and 8-bit integers. Latency is given as a ratio to
the bare backbone (the levels that the detector reads, exported alone and timed in turns with it); methods without a
backbone are compared with the levels that DeSTSeg reads.

    python studies/benchmarks/bundles.py DATA [SET ...] --weights-dir WEIGHTS --output OUT [--methods padim,patchcore]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from image_sets import LabelledSet, fit_alone, methods_parser_of, opened, published, table_of, walk
from torch import Tensor, nn

from automl_ad.backbones.base import Backbone
from automl_ad.bundle.onnx_export import BATCH, export_graph, run_graph, session_of
from automl_ad.bundle.parity import compare
from automl_ad.bundle.precision import PRECISIONS, converted
from automl_ad.data.image_set import ImageSet
from automl_ad.errors import BundleError
from automl_ad.evaluation.aggregation import ScoreAggregation, score_maps
from automl_ad.evaluation.metrics import image_auroc
from automl_ad.methods.features import FeatureDetector

RULE = ScoreAggregation("pool", pool=16)
QUANTISED_ON = 64
OVERKILL = 0.05
TURNS, UNCOUNTED, RUNS = 6, 2, 4


def run_set(dataset: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Fits, exports and compares every method on one set."""
    images, backbone = opened(dataset, arguments)
    rows = []
    for method in arguments.methods.split(","):
        for detector in published(method, backbone, arguments.effort, arguments.seed):
            fit_alone(detector, images.normals, arguments.seed)
            rows += _precisions(detector, images, backbone)
    return {"set": dataset.name, "graphs": rows}


def _precisions(detector: FeatureDetector, images: LabelledSet, backbone: Backbone) -> list[dict[str, Any]]:
    maps = _exact_maps(detector, images.test)
    scores = score_maps(maps, RULE, images.test.size)
    limit = float(np.quantile(scores[~images.labels], 1 - OVERKILL))
    exact = export_graph(detector, RULE, images.test.size)
    levels = detector.settings.levels or (-4, -3, -2)
    bare = _bare(backbone if not detector.settings.levels else detector.extractor.backbone, levels, images.test.size)
    form = getattr(detector.settings, "model", "")
    rows = []
    for precision in PRECISIONS:
        row: dict[str, Any] = {"method": f"{detector.name} {form}".strip(), "precision": precision}
        try:
            graph = converted(exact, precision, images.normals.hwc[:: max(1, len(images.normals) // QUANTISED_ON)])
        except BundleError as error:
            rows.append(row | {"error": str(error)})
            continue
        found_maps, found = run_graph(graph, images.test.hwc)
        parity = compare(scores, maps, found, found_maps, limit, images.labels)
        change = image_auroc(found, images.labels) - image_auroc(scores, images.labels)
        row |= {"relative": parity.relative, "changed": parity.decisions_changed, "images": parity.images}
        row |= {"auroc_change": change, "mb": len(graph) / 1e6, **_latency(graph, bare, images.test.hwc)}
        rows.append(row)
        print("  " + "  ".join(_cells(row)), flush=True)
    return rows


def _exact_maps(detector: FeatureDetector, images: ImageSet) -> npt.NDArray[np.float32]:
    batches = (torch.from_numpy(batch) for batch in images.batches(BATCH))
    return np.concatenate([detector.anomaly_map(batch).numpy() for batch in batches])


class _Levels(nn.Module):
    """Some levels of a backbone, each as one number an image, so that nothing else takes time."""

    def __init__(self, backbone: Backbone, levels: tuple[int, ...]) -> None:
        super().__init__()
        self.backbone = backbone
        self.levels = levels

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        maps = self.backbone(images.permute(0, 3, 1, 2).float() / 255, self.levels)
        return tuple(level.amax((1, 2, 3)) for level in maps)


def _bare(backbone: Backbone, levels: tuple[int, ...], size: tuple[int, int]) -> bytes:
    example = torch.zeros(2, *size, 3, dtype=torch.uint8)
    batch = torch.export.Dim("n", min=1, max=1024)
    program = torch.onnx.export(
        _Levels(backbone, levels).eval(),
        (example,),
        dynamo=True,
        dynamic_shapes=({0: batch},),
        input_names=["images"],
        verbose=False,
    )
    assert program is not None
    data: bytes = program.model_proto.SerializeToString()
    return data


def _latency(graph: bytes, bare: bytes, pictures: npt.NDArray[np.uint8]) -> dict[str, float]:
    """Median seconds of graph and bare backbone, in turns, so that what else the machine does weighs on both.

    Each turn has several runs, the first of which do not count: the threads of a session go on spinning for a while,
    and would take a core from the other one.
    """
    sessions = [session_of(model) for model in (graph, bare)]
    found: dict[str, float] = {}
    for count in (1, BATCH):
        times: list[list[float]] = [[], []]
        for _ in range(TURNS):
            for own, session in zip(times, sessions, strict=True):
                own += _seconds(session, pictures[:count])[UNCOUNTED:]
        whole, part = (float(np.median(own)) for own in times)
        found |= {f"ms_{count}": 1000 * whole / count, f"ratio_{count}": whole / part}
    return found


def _seconds(session: Any, pictures: npt.NDArray[np.uint8]) -> list[float]:
    times = []
    for _ in range(UNCOUNTED + RUNS):
        start = time.perf_counter()
        session.run(None, {"images": pictures})
        times.append(time.perf_counter() - start)
    return times


HEADS = ["set", "method", "precision", "largest difference, of the spread", "decisions changed", "AUROC change"]
HEADS += ["MB", "ms, one image", "of the backbone's", "ms an image of 8", "of the backbone's"]


def _cells(row: dict[str, Any]) -> list[str]:
    head = [row["method"], row["precision"]]
    if "error" in row:
        return [*head, row["error"].partition(";")[0], *[""] * 7]
    changed = f"{row['changed']} of {row['images']}"
    cells = [*head, f"{row['relative']:.1e}", changed, f"{100 * row['auroc_change']:+.2f} points", f"{row['mb']:.1f}"]
    return cells + [f"{row[key]:.{digits}f}" for key, digits in TIMES]


TIMES = (("ms_1", 1), ("ratio_1", 2), ("ms_8", 1), ("ratio_8", 2))


def markdown(sets: list[dict[str, Any]]) -> str:
    """A row a set, method and precision."""
    return table_of([HEADS, *([one["set"], *_cells(row)] for one in sets for row in one["graphs"])])


def main() -> None:
    walk(methods_parser_of(__doc__).parse_args(), run_set, lambda row: row["set"], markdown)


if __name__ == "__main__":
    main()
