"""Searches image sets with real defects, then judges the choices: one row a set, resumable.

The search sees ``train/good`` alone; ``assess`` then scores every finished trial on the labelled test images.

    python studies/benchmarks/real_sets.py DATA [SET ...] --weights-dir WEIGHTS --output OUT [--time-budget 5m]
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
from image_sets import parser_of, table_of, walk

import automl_ad


def run_set(dataset: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Searches and assesses one set; returns its row."""
    backbones = arguments.backbones.split(",") if arguments.backbones else None
    start = time.monotonic()
    study = automl_ad.search(
        dataset,
        name=dataset.name,
        workspace=arguments.output / "workspace",
        weights_dir=arguments.weights_dir,
        backbones=backbones,
        preset=arguments.preset,
        trials=arguments.trials,
        time_budget=arguments.time_budget,
        seed=arguments.seed,
    )
    searched = time.monotonic() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    answer, judged = study.answer(), study.assess(dataset)
    winner = answer["winner"]
    return {
        "set": dataset.name,
        "normals": answer["images"],
        "trials": answer["trials"],
        "wall_s": answer["wall_s"],
        "search_s": searched,
        "assess_s": time.monotonic() - start - searched,
        "peak_gb": peak,
        "winner": f"{winner['method']} on {winner['backbone']}",
        "default_kept": answer["default_kept"],
        "tied": len(answer["tied"]),
        "proxy_score": winner["proxy_score"],
        "rows": judged.pop("trials"),
        **judged,
    }


def markdown(rows: list[dict[str, Any]]) -> str:
    """The rows as a table, with means."""
    heads = ["set", "good images", "trials", "winner", *MEANS.values(), "minutes", "peak GB"]
    lines = [heads, *(_cells(row) for row in rows)]
    means = [f"{np.mean([row[key] for row in rows]):{_form(key)}}" for key in MEANS]
    lines.append(["mean", "", "", "", *means, "", ""])
    return table_of(lines)


def _cells(row: dict[str, Any]) -> list[str]:
    figures = [f"{row[key]:{_form(key)}}" for key in MEANS]
    trials = str(row["trials"]["complete"])
    return [
        row["set"],
        str(row["normals"]),
        trials,
        row["winner"],
        *figures,
        f"{row['wall_s'] / 60:.1f}",
        f"{row['peak_gb']:.1f}",
    ]


def _form(key: str) -> str:
    return ".1f" if key.endswith(("regret", "floor")) else ".3f"


MEANS = {
    "proxy_score": "proxy score",
    "selected_auroc": "real image AUROC",
    "best_auroc": "best candidate's",
    "regret": "regret",
    "default_regret": "default's regret",
    "random_regret": "random regret",
    "labelled_floor": "labelled floor",
    "spearman": "Spearman",
}


def main() -> None:
    parser = parser_of(__doc__, time_budget="5m")
    parser.add_argument("--backbones")
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--trials", type=int)
    walk(parser.parse_args(), run_set, lambda row: markdown([row]).splitlines()[2], markdown)


if __name__ == "__main__":
    main()
