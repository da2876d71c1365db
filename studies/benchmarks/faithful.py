"""The published settings of methods that train, for a given time on a CPU: losses, real defects, memory.

One row a set and method, resumable: the first proposal of the preset ``faithful`` on a backbone, trained until its
steps or the time are over (drawing pairs and reading their features included). The loss curve is that of every phase of
the training; image AUROC of real defects is taken at a quarter, a half and the end of the time, under the usual rule of
the method and under the best one; judging takes part of the time.

    python studies/benchmarks/faithful.py DATA aws_cookie --weights-dir WEIGHTS --output OUT [--minutes 30]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from image_sets import LabelledSet, fit_alone, methods_parser_of, opened, published, table_of, walk
from methods import USUAL

from automl_ad.backbones.cache import FeatureCache
from automl_ad.evaluation.aggregation import AGGREGATIONS
from automl_ad.methods.features import FeatureDetector
from automl_ad.study.machine import PeakMemory
from automl_ad.training import Budget, TrainingLog, TrainingPlan, train

MARKS = (0.25, 0.5)
"""Shares of the time after which the detector is judged, beside the end."""
POINTS = 10
"""Of a loss curve: means over as many parts of a phase."""


def run_set(dataset: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Trains and judges every method on one set."""
    images, backbone = opened(dataset, arguments)
    rows = []
    for method in arguments.methods.split(","):
        detector = next(published(method, backbone, "faithful", arguments.seed))
        detector.extractor.cache = FeatureCache(arguments.output / "features")
        rows.append(_run(detector, images, 60 * arguments.minutes, arguments.seed))
        print(rows[-1], flush=True)
    return {"set": dataset.name, "threads": arguments.threads, "minutes": arguments.minutes, "methods": rows}


def _run(detector: FeatureDetector, images: LabelledSet, seconds: float, seed: int) -> dict[str, Any]:
    start, steps, due = time.monotonic(), 0, list(MARKS)
    marks: list[dict[str, Any]] = []

    def report(done: float) -> None:
        nonlocal steps
        del done
        steps += 1
        if due and time.monotonic() - start >= due[0] * seconds:
            marks.append({"share": due.pop(0), "steps": steps, **_judged(detector, images)})

    peak = PeakMemory(torch.device("cpu"))
    with _recorded(type(detector).__module__) as logs:
        fit_alone(detector, images.normals, seed, Budget(seconds), report)
    peak_mb = peak.megabytes()
    marks.append({"share": 1.0, "steps": steps, **_judged(detector, images)})
    phases = [{**asdict(log), "planned": planned, "losses": _curve(log.losses)} for planned, log in logs]
    found = {"method": detector.name, "settings": detector.settings.model_dump(mode="json"), "phases": phases}
    return found | {"marks": marks, "peak_mb": peak_mb, "seconds": time.monotonic() - start}


@contextmanager
def _recorded(module: str) -> Iterator[list[tuple[int, TrainingLog]]]:
    """Makes the trainings of a module report after every step, and yields what they did beside the steps planned."""
    logs: list[tuple[int, TrainingLog]] = []

    def recorded(model: torch.nn.Module, loss: Callable[[], torch.Tensor], plan: TrainingPlan, **how: Any) -> Any:
        log = train(model, loss, replace(plan, reports=plan.steps), **how)
        logs.append((plan.steps, log))
        return log

    with patch(f"{module}.train", recorded):
        yield logs


def _judged(detector: FeatureDetector, images: LabelledSet) -> dict[str, Any]:
    aurocs = images.image_aurocs(detector.anomaly_maps(images.test), AGGREGATIONS)
    best = max(aurocs, key=lambda name: aurocs[name])
    return {"usual": aurocs[USUAL[detector.name]], "best_rule": best, "best": aurocs[best]}


def _curve(losses: tuple[float, ...]) -> list[float]:
    """Means over equal parts."""
    count = min(POINTS, len(losses))
    ends = [place * len(losses) // count for place in range(count + 1)]
    return [sum(losses[a:b]) / (b - a) for a, b in pairwise(ends)]


def markdown(sets: list[dict[str, Any]]) -> str:
    """A row a set and method."""
    heads = ["set", "method", "steps", "loss", "image AUROC at 25 / 50 / 100 %", "best rule", "peak MB"]
    return table_of([heads, *(_cells(one["set"], row) for one in sets for row in one["methods"])])


def _cells(name: str, row: dict[str, Any]) -> list[str]:
    steps = " + ".join(f"{phase['steps']} of {phase['planned']}" for phase in row["phases"])
    losses = "; ".join(", ".join(f"{value:.3g}" for value in phase["losses"]) for phase in row["phases"])
    usual, best = (" / ".join(f"{mark[key]:.3f}" for mark in row["marks"]) for key in ("usual", "best"))
    return [name, row["method"], steps, losses, usual, best, f"{row['peak_mb']:.0f}"]


def main() -> None:
    parser = methods_parser_of(__doc__)
    parser.set_defaults(methods="realnet,destseg")
    parser.add_argument("--minutes", type=float, default=30)
    walk(parser.parse_args(), run_set, lambda row: f"{row['set']} done", markdown)


if __name__ == "__main__":
    main()
