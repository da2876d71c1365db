"""What the benchmarks over image sets share: arguments, a walk that goes on where it stopped, sets and detectors."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from automl_ad.backbones.base import NO_BACKBONE, Backbone, NoBackbone
from automl_ad.backbones.extractor import FeatureExtractor
from automl_ad.backbones.zoo import load_backbone
from automl_ad.data.folder import find_images
from automl_ad.data.image_set import ImageSet
from automl_ad.data.labelled_sets import labelled_images
from automl_ad.data.masks import read_masks
from automl_ad.data.preprocessing import Preprocessing
from automl_ad.evaluation.aggregation import ScoreAggregation, score_all
from automl_ad.evaluation.metrics import image_auroc, pixel_metrics, resize_maps
from automl_ad.methods.features import FeatureDetector
from automl_ad.methods.names import METHODS
from automl_ad.methods.registry import detector_class
from automl_ad.methods.space import BackboneSpace, Effort, Space
from automl_ad.store.artifacts import load_arrays
from automl_ad.study.study import Study
from automl_ad.study.training_anomalies import TrainingAnomalies
from automl_ad.synthesis.sdas.source import SeededPool
from automl_ad.training import Budget, Report, ignore_progress

Row = dict[str, Any]


def parser_of(description: str | None, time_budget: str) -> argparse.ArgumentParser:
    """The arguments that every such benchmark takes."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of data sets in MVTec layout")
    parser.add_argument("sets", nargs="*", help="names of sets; all by default")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--weights-dir", type=Path)
    parser.add_argument("--time-budget", default=time_budget)
    parser.add_argument("--seed", type=int, default=0)
    return parser


def methods_parser_of(description: str | None) -> argparse.ArgumentParser:
    """The arguments of benchmarks that take each method at its default settings."""
    parser = parser_of(description, time_budget="")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--effort", default="quick")
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    return parser


def walk(
    arguments: argparse.Namespace,
    run_set: Callable[[Path, argparse.Namespace], Row],
    told: Callable[[Row], str],
    markdown: Callable[[list[Row]], str],
) -> None:
    """Runs the sets that have no row in the output folder yet, then writes and prints the table of all."""
    names = arguments.sets or sorted(path.name for path in arguments.data.iterdir() if path.is_dir())
    rows = []
    for name in names:
        path = arguments.output / f"{name}.json"
        if not path.is_file():
            arguments.output.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(run_set(arguments.data / name, arguments), indent=1))
        rows.append(json.loads(path.read_text()))
        print(told(rows[-1]), flush=True)
    table = markdown(rows)
    (arguments.output / "table.md").write_text(table + "\n")
    print(table)


def table_of(lines: list[list[str]]) -> str:
    """Lines of cells as a Markdown table, heads first."""
    heads, *body = lines
    return "\n".join("| " + " | ".join(line) + " |" for line in [heads, ["---"] * len(heads), *body])


class LabelledSet:
    """Good training images, labelled test images and their masks at one size."""

    def __init__(self, dataset: Path, side: int) -> None:
        how = Preprocessing(height=side, width=side)
        labelled = labelled_images(dataset)
        self.normals = ImageSet.of(how.load_all(find_images(dataset))[0])
        self.test = ImageSet.of(np.stack([how.load(image.path) for image in labelled]))
        self.labels = np.array([image.anomalous for image in labelled])
        # Without a mask, nobody knows which pixels of a defective image are good.
        self.marked = np.array([not image.anomalous or bool(image.masks) for image in labelled])
        size, nothing = self.test.size, np.zeros(self.test.size, bool)
        self.masks = np.stack(
            [read_masks(image.masks, image.path, size) if image.masks else nothing for image in labelled]
        )

    def image_aurocs(self, maps: npt.NDArray[np.float32], rules: Iterable[ScoreAggregation]) -> dict[str, float]:
        """By rule."""
        return {
            name: image_auroc(scores, self.labels) for name, scores in score_all(maps, rules, self.test.size).items()
        }

    def pixel_figures(self, maps: npt.NDArray[np.float32]) -> dict[str, float]:
        """Of the images with masks; nothing for a set without."""
        if not self.masks.any():
            return {}
        found = pixel_metrics(resize_maps(maps[self.marked], self.test.size), self.masks[self.marked])
        return {"pixel_auroc": found.auroc, "pixel_ap": found.ap, "aupro": found.aupro}


def assessed(study: Study) -> list[tuple[Path, dict[str, Any]]]:
    """Folder and scores by rule, on the labelled images, of every finished trial of an assessed study."""
    folders = [study.folder.trial(row.number) for row in study.trials() if row.state == "complete"]
    return [(folder, load_arrays(next(folder.glob("assessed_*.npz")))) for folder in folders]


def opened(dataset: Path, arguments: argparse.Namespace) -> tuple[LabelledSet, Backbone]:
    """A set and the backbone, by the arguments of ``methods_parser_of``; torch computes as in a study from now on."""
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)
    return LabelledSet(dataset, arguments.side), load_backbone(arguments.backbone, arguments.weights_dir)


def fit_alone(
    detector: FeatureDetector,
    normals: ImageSet,
    seed: int,
    budget: Budget | None = None,
    report: Report = ignore_progress,
) -> None:
    """Fits a detector without a search around it, on anomalies of its own drawing where it learns from such."""
    anomalies = TrainingAnomalies(seed, None, _no_pictures).of(detector.settings.recipe, normals)
    detector.fit(normals, anomalies, budget or Budget(), report)


def _no_pictures() -> SeededPool:
    raise AssertionError("no published default here learns from sdas")


def published(method: str, backbone: Backbone, effort: Effort, seed: int, **changes: Any) -> Iterator[FeatureDetector]:
    """Unfitted detectors of a method at its defaults on a backbone, some settings changed; features are not cached."""
    own = BackboneSpace(backbone.name, backbone.levels, backbone.strides, backbone.channels)
    cls = detector_class(method)
    for settings in cls.defaults(Space((own,), effort)):
        made = cls.settings_type(**{**settings, **changes})
        yield cls(made, FeatureExtractor(NoBackbone() if made.backbone == NO_BACKBONE else backbone), seed)
