"""Searches image sets with real defects, then judges the choices: one row a set, resumable.

The search sees ``train/good`` alone; ``assess`` then scores every finished trial on the labelled test images.

    python studies/benchmarks/real_sets.py DATA [SET ...] --weights-dir WEIGHTS --output OUT [--time-budget 5m]
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np

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
    lines = [heads, ["---"] * len(heads)] + [_cells(row) for row in rows]
    means = [f"{np.mean([row[key] for row in rows]):{_form(key)}}" for key in MEANS]
    lines.append(["mean", "", "", "", *means, "", ""])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of data sets in MVTec layout")
    parser.add_argument("sets", nargs="*", help="names of sets; all by default")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--weights-dir", type=Path)
    parser.add_argument("--backbones")
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--trials", type=int)
    parser.add_argument("--time-budget", default="5m")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    names = arguments.sets or sorted(path.name for path in arguments.data.iterdir() if path.is_dir())
    rows = []
    for name in names:
        path = arguments.output / f"{name}.json"
        if not path.is_file():
            arguments.output.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(run_set(arguments.data / name, arguments), indent=1))
        rows.append(json.loads(path.read_text()))
        print(markdown(rows[-1:]).splitlines()[2], flush=True)
    (arguments.output / "table.md").write_text(markdown(rows) + "\n")
    print(markdown(rows))


if __name__ == "__main__":
    main()
