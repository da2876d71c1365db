"""What the share that ranking trims does to the choice, judged by real defects: on the studies of ``sdas.py``.

For every set the real image AUROC of the candidate that comes first at each share, then the means over the sets and
over all but one.

    python studies/benchmarks/trimming.py DATA [SET ...] --workspace results/sdas/workspace --output OUT
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from image_sets import assessed, parser_of, table_of, walk

from automl_ad.data.labelled_sets import labelled_images
from automl_ad.data.study_images import read_study_images
from automl_ad.evaluation.metrics import image_auroc
from automl_ad.evaluation.suite_scores import SuiteScores
from automl_ad.formatting import percent
from automl_ad.selection import ranking
from automl_ad.study.study import Study
from automl_ad.study.suites import draw_study_data

SHARES = (0.0, 0.1, 0.2, 0.3, 0.4)
RULE = "max"


def run_set(dataset: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """The first of the ranking at each share, and the best and the mean candidate."""
    study = Study.open(dataset.name, workspace=arguments.workspace)
    data = draw_study_data(study.settings, read_study_images(study.settings), study.folder, torch.device("cpu"))
    labels = np.array([image.anomalous for image in labelled_images(dataset)])
    table, real = [], []
    for folder, by_rule in assessed(study):
        table.append(list(SuiteScores.load(folder / "scores.npz").cells(data.proxy, RULE).values()))
        real.append(image_auroc(by_rule[RULE], labels))
    return {"set": dataset.name, "first": [_first(np.array(table), real, share) for share in SHARES]} | {
        "best": max(real),
        "mean": float(np.mean(real)),
    }


def _first(table: Any, real: list[float], share: float) -> float:
    with patch.object(ranking, "TRIM", share):
        return real[int(np.argmax(ranking.rank_scores(table)))]


def markdown(rows: list[dict[str, Any]]) -> str:
    """A row a set, then the means."""
    body = [[row["set"], *map(percent, row["first"]), percent(row["best"]), percent(row["mean"])] for row in rows]
    first = np.array([row["first"] for row in rows])
    others = (first.sum(0) - first) / max(1, len(first) - 1)
    ranges = [f"{percent(low)} to {percent(high)}" for low, high in zip(others.min(0), others.max(0), strict=True)]
    body += [["mean", *map(percent, first.mean(0)), "", ""], ["mean without one set", *ranges, "", ""]]
    return table_of([["set", *(f"trim {share:g}" for share in SHARES), "best", "random"], *body])


def main() -> None:
    parser = parser_of(__doc__, time_budget="")
    parser.add_argument("--workspace", type=Path, required=True, help="that of sdas.py, whose studies were assessed")
    walk(parser.parse_args(), run_set, lambda row: row["set"], markdown)


if __name__ == "__main__":
    main()
