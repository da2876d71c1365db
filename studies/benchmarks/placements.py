"""How placements of real defects vary beside what a candidate is worth: the numbers of the re-ranking by few defects.

By set, from finished and assessed studies: the variance of what one defect does to one candidate beside others, as a
share of m (1 - m) (`tuned.IMAGE_NOISE`), and the standard deviation, between candidates, of what other good images make
of the same defects (`tuned.NORMALS_NOISE`); then the means over all sets but one.

    python studies/benchmarks/placements.py DATA [SET ...] --workspace WORKSPACE --output OUT
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from image_sets import assessed, parser_of, table_of, walk

from automl_ad.data.labelled_sets import labelled_images
from automl_ad.selection.few_defects import placements
from automl_ad.study.study import Study

RULE = "max"
HALVES = 50
"""Random halves of the good images."""


def run_set(dataset: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Both numbers of one set."""
    study = Study.open(dataset.name, workspace=arguments.workspace)
    labels = np.array([image.anomalous for image in labelled_images(dataset)])
    scores = np.stack([by_rule[RULE] for _, by_rule in assessed(study)])
    good, bad = scores[:, ~labels], scores[:, labels]
    return {"set": dataset.name, "candidates": len(scores)} | {
        "image_noise": _image_noise(np.stack(list(map(placements, good, bad)))),
        "normals_noise": _normals_noise(good, bad, np.random.default_rng(arguments.seed)),
    }


def _image_noise(placed: npt.NDArray[np.float64]) -> float:
    """Mean square of the interaction of candidates [T] and defects [k], as a share of m (1 - m)."""
    rest = placed - placed.mean(1, keepdims=True) - placed.mean(0) + placed.mean()
    square = (rest**2).sum() / ((len(placed) - 1) * (placed.shape[1] - 1))
    return float(square / (placed.mean() * (1 - placed.mean())))


def _normals_noise(good: npt.NDArray[Any], bad: npt.NDArray[Any], rng: np.random.Generator) -> float:
    """From AUROC on two halves of the good images; that of all of them varies half as much (in variance)."""
    variances = []
    for _ in range(HALVES):
        order = rng.permutation(good.shape[1])
        one, other = np.array_split(order, 2)
        gap = [
            placements(row[one], hits).mean() - placements(row[other], hits).mean()
            for row, hits in zip(good, bad, strict=True)
        ]
        variances.append(np.var(gap, ddof=1) / 2)
    return float(np.sqrt(np.mean(variances) / 2))


def markdown(rows: list[dict[str, Any]]) -> str:
    """A row a set, then the ranges of means without one set."""
    keys = ("image_noise", "normals_noise")
    values = np.array([[row[key] for key in keys] for row in rows])
    others = (values.sum(0) - values) / max(1, len(values) - 1)
    body = [[row["set"], str(row["candidates"]), *(f"{row[key]:.3f}" for key in keys)] for row in rows]
    body.append(["mean", "", *(f"{value:.3f}" for value in values.mean(0))])
    ranges = [f"{low:.3f} to {high:.3f}" for low, high in zip(others.min(0), others.max(0), strict=True)]
    return table_of([["set", "candidates", *keys], *body, ["mean without one set", "", *ranges]])


def main() -> None:
    parser = parser_of(__doc__, time_budget="")
    parser.add_argument("--workspace", type=Path, required=True, help="with a study of each set's name, assessed")
    walk(parser.parse_args(), run_set, lambda row: row["set"], markdown)


if __name__ == "__main__":
    main()
