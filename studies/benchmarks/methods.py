"""Every method alone at its published settings, as far as an effort carries them, judged by real defects.

One row a set and method, resumable: fitted to all good training images, scored on the labelled test images. Image AUROC
is given under the usual rule and under the best one; the fit includes the drawing of anomalies and the features; images
a second are measured without a cache.

    python studies/benchmarks/methods.py DATA [SET ...] --weights-dir WEIGHTS --output OUT [--effort quick]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from image_sets import LabelledSet, fit_alone, methods_parser_of, opened, published, table_of, walk

from automl_ad.evaluation.aggregation import AGGREGATIONS, ScoreAggregation
from automl_ad.methods.features import FeatureDetector
from automl_ad.study.machine import PeakMemory

USUAL = {
    "padim": "max+sigma4",
    "patchcore": "max",
    "dfr": "max",
    "realnet": "pool16",
    "destseg": "top0.1%",
    "anoseg": "max",
}
"""The published rule of each method, or the nearest one that a search offers; RealNet's is its code's."""
FRACTIONS = (0.00002, 0.0001, 0.0003, 0.001, 0.0015, 0.003, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
"""Shares of the highest pixels of the curve; of 256 x 256 pixels, 0.0015 are 100."""


def run_set(dataset: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Fits and judges every method on one set."""
    images, backbone = opened(dataset, arguments)
    rows = []
    for method in arguments.methods.split(","):
        for detector in published(method, backbone, arguments.effort, arguments.seed):
            rows.append(_judge(detector, images, arguments.seed))
            print(_line(rows[-1]), flush=True)
    return {"set": dataset.name, "methods": rows}


def _judge(detector: FeatureDetector, images: LabelledSet, seed: int) -> dict[str, Any]:
    peak, start = PeakMemory(torch.device("cpu")), time.perf_counter()
    fit_alone(detector, images.normals, seed)
    fitted = time.perf_counter()
    maps = detector.anomaly_maps(images.test)
    done = time.perf_counter()
    aurocs = images.image_aurocs(maps, AGGREGATIONS)
    curve = images.image_aurocs(maps, [ScoreAggregation("top", fraction=fraction) for fraction in FRACTIONS])
    usual = USUAL[detector.name]
    best = max(aurocs, key=lambda name: aurocs[name])
    form = getattr(detector.settings, "model", "")
    return {
        "method": f"{detector.name} {form}".strip(),
        "settings": detector.settings.model_dump(mode="json"),
        "usual": usual,
        "image_auroc": aurocs[usual],
        "best_rule": best,
        "best_auroc": aurocs[best],
        "curve": list(curve.values()),
        **images.pixel_figures(maps),
        "fit_s": fitted - start,
        "peak_mb": peak.megabytes(),
        "images_s": len(images.test) / (done - fitted),
    }


HEADS = ["set", "method", "rule", "image AUROC", "best rule", "its AUROC", "pixel AUROC", "pixel AP", "AUPRO", "fit s"]
HEADS += ["peak MB", "images/s"]


def _cells(row: dict[str, Any]) -> list[str]:
    pixel = [f"{row[key]:.3f}" if key in row else "" for key in ("pixel_auroc", "pixel_ap", "aupro")]
    image = [row["usual"], f"{row['image_auroc']:.3f}", row["best_rule"], f"{row['best_auroc']:.3f}"]
    return [row["method"], *image, *pixel, f"{row['fit_s']:.0f}", f"{row['peak_mb']:.0f}", f"{row['images_s']:.0f}"]


def _line(row: dict[str, Any]) -> str:
    return "  " + "  ".join(_cells(row))


def markdown(sets: list[dict[str, Any]]) -> str:
    """A row a set and method, then the means by method."""
    lines = [HEADS, *([one["set"], *_cells(row)] for one in sets for row in one["methods"])]
    return table_of(lines) + "\n\n" + _means(sets)


def _means(sets: list[dict[str, Any]]) -> str:
    names = [row["method"] for row in sets[0]["methods"]]
    lines = [["mean over sets", *names]]
    for key in ("image_auroc", "best_auroc", "pixel_auroc", "pixel_ap", "aupro", "fit_s", "peak_mb", "images_s"):
        values = [[row.get(key) for one in sets for row in one["methods"] if row["method"] == name] for name in names]
        means = [np.mean([value for value in column if value is not None]) for column in values]
        lines.append([key, *(f"{mean:.3f}" if mean <= 1 else f"{mean:.0f}" for mean in means)])
    for place, fraction in enumerate(FRACTIONS):
        curves = [
            [row["curve"][place] for one in sets for row in one["methods"] if row["method"] == name] for name in names
        ]
        lines.append([f"image_auroc, top {100 * fraction:g}%", *(f"{np.mean(column):.3f}" for column in curves)])
    return table_of(lines)


def main() -> None:
    walk(methods_parser_of(__doc__).parse_args(), run_set, lambda row: row["set"], markdown)


if __name__ == "__main__":
    main()
