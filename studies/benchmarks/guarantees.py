"""Is the promised overkill kept? Random halves of the good images: one to learn and calibrate, one as new parts.

For each split the steps of an export are taken: out-of-fold scores of the first half, a threshold for each share that
is asked for, a fit to the whole first half. Counted is how many of the second half are rejected.

    python studies/benchmarks/guarantees.py DATA [SET ...] --weights-dir WEIGHTS --output OUT
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from image_sets import parser_of, table_of, walk
from scipy import stats

from automl_ad.backbones.cache import FeatureCache
from automl_ad.backbones.extractor import FeatureExtractor
from automl_ad.backbones.zoo import load_backbone
from automl_ad.bundle.runtime import overkill_threshold
from automl_ad.data.fingerprint import near_duplicate_groups
from automl_ad.data.folder import find_images
from automl_ad.data.image_set import ImageSet
from automl_ad.data.labelled_sets import labelled_images
from automl_ad.data.preprocessing import Preprocessing
from automl_ad.evaluation.aggregation import ScoreAggregation, score_maps
from automl_ad.methods.features import FeatureDetector
from automl_ad.methods.registry import detector_class
from automl_ad.study.detectors import OutOfFold
from automl_ad.training import Budget, ignore_progress

SHARES = (0.05, 0.02)
FOLDS = 5
CANDIDATES: dict[str, tuple[str, dict[str, Any]]] = {
    "dfr": ("dfr", {"levels": (-2,), "model": "image_pca", "stride": 32, "variance": 0.95}),
    "padim": ("padim", {"levels": (-2,), "channels": 40}),
    "dfr autoencoder": ("dfr", {"levels": (-2,), "model": "autoencoder", "stride": 16}),
}
"""On the third level of ResNet18: two methods whose fits take a fraction of a second, as thousands are needed, and one
that trains, whose fits take seconds."""
RULE = ScoreAggregation("max")


def run_set(dataset: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Every split of one set."""
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)
    good = [image.path for image in labelled_images(dataset) if not image.anomalous]
    how = Preprocessing(height=arguments.side, width=arguments.side)
    images = ImageSet.of(how.load_all([*find_images(dataset), *good])[0])
    groups = np.array(near_duplicate_groups(images.pixels))
    backbone = load_backbone(arguments.backbone, arguments.weights_dir)
    extractor = FeatureExtractor(backbone, cache=FeatureCache(arguments.output / "features"))
    found = {}
    for name in arguments.candidates.split(","):
        method, settings = CANDIDATES[name]
        kind = detector_class(method)
        made = kind.settings_type(backbone=backbone.name, **settings)
        rng = np.random.default_rng(arguments.seed)
        make = partial(kind, made, extractor)
        splits = [_split(make, images, groups, rng) for _ in range(arguments.splits)]
        found[name] = splits
        print(f"  {name}: {[np.mean([one['rejected'][k] for one in splits]) for k in range(len(SHARES))]}", flush=True)
    return {"set": dataset.name, "images": len(images), "splits": found}


def _split(
    make: Callable[[], FeatureDetector], images: ImageSet, groups: Any, rng: np.random.Generator
) -> dict[str, Any]:
    order = rng.permutation(len(images))
    half = len(images) // 2
    mine, new = images.take(order[:half]), images.take(order[half:])

    def fit(normals: ImageSet) -> FeatureDetector:
        detector = make()
        detector.fit(normals, None, Budget(), ignore_progress)
        return detector

    calibration = OutOfFold.of(fit, mine, groups[order[:half]].tolist(), RULE, FOLDS).calibration
    scores = score_maps(fit(mine).anomaly_maps(new), RULE, images.size)
    thresholds = [overkill_threshold(calibration.scores, share) for share in SHARES]
    return {
        "calibrated": len(calibration.scores),
        "new": len(new),
        "promised": [threshold.overkill for threshold in thresholds],
        "rejected": [int((scores > threshold.value).sum()) for threshold in thresholds],
    }


def markdown(sets: list[dict[str, Any]]) -> str:
    """A row a set, method and share."""
    heads = ["set", "method", "promised", "mean overkill", "splits above the binomial 97.5 %", "inside 95 % two-sided"]
    heads += ["above the beta-binomial 97.5 %"]
    lines = [heads]
    for one in sets:
        for method, splits in one["splits"].items():
            lines += [[one["set"], method, *_figures(splits, place)] for place in range(len(SHARES))]
    return table_of(lines)


def _figures(splits: list[dict[str, Any]], place: int) -> list[str]:
    share = splits[0]["promised"][place]
    new, calibrated = splits[0]["new"], splits[0]["calibrated"]
    rejected = np.array([one["rejected"][place] for one in splits])
    fixed = stats.binom(new, share)
    alarms = int(np.floor(share * (calibrated + 1)))
    # What a promise kept on average looks like when the calibration images are drawn anew as well.
    drawn = stats.betabinom(new, alarms, calibrated + 1 - alarms)
    above = np.mean(rejected > fixed.ppf(0.975))
    inside = np.mean((rejected >= fixed.ppf(0.025)) & (rejected <= fixed.ppf(0.975)))
    above_drawn = np.mean(rejected > drawn.ppf(0.975))
    mean = rejected.mean() / new
    return [f"{100 * share:.2g} %", f"{100 * mean:.2f} %", *(f"{100 * x:.1f} %" for x in (above, inside, above_drawn))]


def main() -> None:
    parser = parser_of(__doc__, time_budget="")
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--candidates", default=",".join(CANDIDATES))
    parser.add_argument("--splits", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2)
    walk(parser.parse_args(), run_set, lambda row: row["set"], markdown)


if __name__ == "__main__":
    main()
