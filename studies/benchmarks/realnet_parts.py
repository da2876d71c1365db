"""What RealNet's two selections are worth: channels by AFS against as many at random, and the ways RRS ranks residuals.

AFS and random channels are compared by real defects (image AUROC under the usual and under the best rule), on the same
pairs, with a quarter of the channels. The ways of RRS are compared on anomalies of two sizes, planted on good test
images: the share of anomalous pixels above the highest 5 % of the good ones.

    python studies/benchmarks/realnet_parts.py DATA magnetic_tile light_guide_plate --weights-dir WEIGHTS --output OUT
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from image_sets import LabelledSet, opened, parser_of, published, table_of, walk

from automl_ad.backbones.base import Backbone
from automl_ad.data.image_set import ImageSet
from automl_ad.evaluation.aggregation import AGGREGATIONS
from automl_ad.evaluation.metrics import resize_maps
from automl_ad.methods.pairs import PairSource
from automl_ad.methods.realnet.detector import RealNet, channel_order_key
from automl_ad.methods.realnet.head import RealNetHead
from automl_ad.synthesis.base import Context
from automl_ad.synthesis.blending import blend
from automl_ad.synthesis.foreground import Foreground
from automl_ad.synthesis.perlin import perlin_mask
from automl_ad.synthesis.sources import TextureSource
from automl_ad.synthesis.texture import TextureFamily
from automl_ad.training import Budget, ignore_progress

SHARE = 0.25
SIZES = {"small": (0.0005, 0.004), "large": (0.05, 0.2)}
"""Areas as shares of the product."""
OPACITY = 0.5
GOOD_ABOVE = 0.05


def run_set(dataset: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Both comparisons on one set."""
    images, backbone = opened(dataset, arguments)
    context = Context(images.normals.hwc, Foreground.fit(images.normals.hwc))
    source = TextureSource(context, (0.2, 1.0))
    selected = [_channels(images, backbone, source, seed) for seed in range(arguments.seeds)]
    return {"set": dataset.name, "channels": selected, "residuals": _residuals(images, backbone, source, context)}


def _channels(images: LabelledSet, backbone: Backbone, source: TextureSource, seed: int) -> dict[str, Any]:
    """AUROC by AFS and by random channels on one draw of pairs."""
    found: dict[str, Any] = {"seed": seed}
    for kind in ("afs", "random"):
        (detector,) = published("realnet", backbone, "quick", seed, share=SHARE)
        assert isinstance(detector, RealNet)
        pairs = PairSource(source, seed)
        if kind == "random":
            derived = pairs.pairs(images.normals, detector.settings.pairs).derived
            generator = torch.Generator().manual_seed(seed)
            levels = detector.settings.levels
            for level, count in zip(levels, backbone.describe(levels)[0], strict=True):
                derived[channel_order_key(backbone.weights_tag, level)] = torch.randperm(count, generator=generator)
        detector.fit(images.normals, pairs, Budget(), ignore_progress)
        aurocs = images.image_aurocs(detector.anomaly_maps(images.test), AGGREGATIONS)
        found[kind] = {"pool16": aurocs["pool16"], "best": max(aurocs.values())}
        print(f"  seed {seed} {kind}: {found[kind]}", flush=True)
    return found


def _residuals(
    images: LabelledSet, backbone: Backbone, source: TextureSource, context: Context
) -> dict[str, dict[str, float]]:
    """By mode, the recall of planted anomalies of each size."""
    good = images.test.take(np.flatnonzero(~images.labels))
    planted = {size: _planted(good, context, window) for size, window in SIZES.items()}
    found: dict[str, dict[str, float]] = {}
    for mode in RealNetHead.MODES:
        (detector,) = published("realnet", backbone, "quick", 0, mode=mode)
        detector.fit(images.normals, PairSource(source, 0), Budget(), ignore_progress)
        limit = float(np.quantile(detector.anomaly_maps(good), 1 - GOOD_ABOVE))
        maps = {size: (detector.anomaly_maps(bad), masks) for size, (bad, masks) in planted.items()}
        found[str(mode)] = {size: _recall(values, masks, limit) for size, (values, masks) in maps.items()}
        print(f"  {mode}: {found[str(mode)]}", flush=True)
    return found


def _planted(good: ImageSet, context: Context, window: tuple[float, float]) -> tuple[ImageSet, npt.NDArray[np.bool_]]:
    """Every good image with an island of texture, and where it is."""
    rng, family = np.random.default_rng(7), TextureFamily(context)
    pictures, masks = [], []
    for picture in good.hwc:
        inside = context.foreground.mask_of(picture)
        mask = perlin_mask((picture.shape[0], picture.shape[1]), rng, window, inside)
        pictures.append(blend(picture, family.texture(picture, rng), mask, OPACITY))
        masks.append(mask)
    return ImageSet.from_hwc(pictures), np.stack(masks)


def _recall(maps: npt.NDArray[np.float32], masks: npt.NDArray[np.bool_], limit: float) -> float:
    """Mean over images of the share of anomalous pixels above the limit."""
    full = resize_maps(maps, (masks.shape[1], masks.shape[2]))
    return float(np.mean([(values[mask] > limit).mean() for values, mask in zip(full, masks, strict=True)]))


def markdown(sets: list[dict[str, Any]]) -> str:
    """Channels, then residuals."""
    channels = [["set", "seed", "AFS, pool16", "random, pool16", "AFS, best rule", "random, best rule"]]
    for one in sets:
        for row in one["channels"]:
            figures = [f"{row[kind][rule]:.3f}" for rule in ("pool16", "best") for kind in ("afs", "random")]
            channels.append([one["set"], str(row["seed"]), *figures])
    residuals = [["set", "size", *RealNetHead.MODES]]
    for one in sets:
        table = one["residuals"]
        residuals += [[one["set"], size, *(f"{table[mode][size]:.3f}" for mode in RealNetHead.MODES)] for size in SIZES]
    return table_of(channels) + "\n\n" + table_of(residuals)


def main() -> None:
    parser = parser_of(__doc__, time_budget="")
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    walk(parser.parse_args(), run_set, lambda row: row["set"], markdown)


if __name__ == "__main__":
    main()
