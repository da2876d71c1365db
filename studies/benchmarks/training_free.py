"""Each training-free method alone, on all good training images at 256 x 256, judged by real defects.

One row a method: real image AUROC under the method's usual rule and under the best rule, seconds of the fit (feature
extraction included) and images a second of the prediction, measured without a cache.

    python studies/benchmarks/training_free.py DATA/magnetic_tile --weights-dir WEIGHTS [--threads 1]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from image_sets import LabelledSet, table_of

from automl_ad.backbones.extractor import FeatureExtractor
from automl_ad.backbones.zoo import load_backbone
from automl_ad.evaluation.aggregation import AGGREGATIONS, ScoreAggregation
from automl_ad.methods.registry import detector_class
from automl_ad.training import Budget, ignore_progress

RUNS = (
    ("padim", {"levels": (-4, -3, -2)}, "max+sigma4"),
    ("patchcore", {"levels": (-3, -2), "ratio": 0.01}, "max"),
    ("dfr", {"levels": (-2,), "model": "image_pca", "stride": 64, "variance": 0.97}, "top100%"),
    ("dfr", {"levels": (-2,), "model": "image_pca", "stride": 32, "variance": 0.97}, "top10%"),
    ("dfr", {"levels": (-2,), "model": "pca", "stride": 16, "variance": 0.97}, "top5%"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--weights-dir", type=Path)
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)
    images = LabelledSet(arguments.dataset, arguments.side)
    extractor = FeatureExtractor(load_backbone(arguments.backbone, arguments.weights_dir))
    lines = [["method", "settings", "rule", "real image AUROC", "best rule", "its AUROC", "fit s", "images/s"]]
    for method, settings, rule in RUNS:
        cls = detector_class(method)
        detector = cls(cls.settings_type(backbone=arguments.backbone, **settings), extractor)
        start = time.perf_counter()
        detector.fit(images.normals, None, Budget(), ignore_progress)
        fitted = time.perf_counter()
        maps = detector.anomaly_maps(images.test)
        done = time.perf_counter()
        aurocs = images.image_aurocs(maps, (*AGGREGATIONS, ScoreAggregation("top", fraction=1.0)))
        best = max(aurocs, key=lambda name: aurocs[name])
        figures = [f"{fitted - start:.1f}", f"{len(images.test) / (done - fitted):.1f}"]
        lines.append([method, str(settings), rule, f"{aurocs[rule]:.4f}", best, f"{aurocs[best]:.4f}", *figures])
    print(table_of(lines))


if __name__ == "__main__":
    main()
