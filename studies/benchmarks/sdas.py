"""Trains SDAS on image sets, measures what it makes, and asks whether its family chooses well: resumable.

For each set: a search over PatchCore on one backbone with all families (``train/good`` alone is read), the reference
panel's image AUROC of local anomalies by strength and opacity, a second search that must find model and pictures in the
workspace, and then, on the labelled images, the candidate and scoring rule that one family alone would have chosen.

    python studies/benchmarks/sdas.py DATA [SET ...] --weights-dir WEIGHTS --output OUT [--trials 12]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from image_sets import assessed, parser_of, table_of, walk

import automl_ad
from automl_ad.data.labelled_sets import labelled_images
from automl_ad.data.study_images import read_study_images
from automl_ad.evaluation.aggregation import AGGREGATIONS
from automl_ad.evaluation.cells import cell_family
from automl_ad.evaluation.metrics import image_auroc
from automl_ad.evaluation.suite_scores import SuiteScores
from automl_ad.formatting import percent
from automl_ad.store.artifacts import read_json
from automl_ad.study.machine import resolve_device
from automl_ad.study.study import Study
from automl_ad.study.suites import draw_study_data, prepare_sdas, study_panel
from automl_ad.synthesis.foreground import Foreground
from automl_ad.synthesis.names import FAMILY_NAMES
from automl_ad.synthesis.sdas.gate import BASES, detectability_table, mean_change
from automl_ad.synthesis.sdas.scale import StrengthScale
from automl_ad.training import Budget

STRENGTHS, OPACITIES = (0.1, 0.2, 0.5, 1.0), (0.3, 0.6, 1.0)
STUDY = f"effort: quick\nsides: [256]\nper_cell: 8\nfamilies: [{', '.join(FAMILY_NAMES)}]\n"
"""The preset quick, with the family sdas."""
FAMILIES = {"sdas": ("sdas",), "texture": ("texture",), "all but sdas": None, "all": ()}


def search(dataset: Path, name: str, trials: int, arguments: argparse.Namespace) -> Study:
    file = arguments.output / "study.yaml"
    file.write_text(STUDY)
    return automl_ad.search(
        dataset,
        study_file=file,
        name=name,
        workspace=arguments.output / "workspace",
        weights_dir=arguments.weights_dir,
        methods=["patchcore"],
        backbones=[arguments.backbone],
        trials=trials,
        time_budget=arguments.time_budget,
        seed=arguments.seed,
    )


def run_set(dataset: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    start = time.monotonic()
    study = search(dataset, dataset.name, arguments.trials, arguments)
    searched = time.monotonic() - start
    decision = read_json(study.folder.suite / "sdas.json")
    row: dict[str, Any] = {"set": dataset.name, "search_s": searched, "decision": decision}
    row |= {"reuse": reuse(dataset, study, arguments)}
    row |= {"detectability": detectability(study) if decision["used"] else None}
    return row | {"choices": choices(study, dataset)}


def reuse(dataset: Path, study: Study, arguments: argparse.Namespace) -> dict[str, Any]:
    """Another study on the same images: what it adds to the workspace, and how long its suites take."""
    before = _contents(study)
    start = time.monotonic()
    again = search(dataset, f"{dataset.name}_again", 1, arguments)
    same = again.answer().proxy.suite == study.answer().proxy.suite
    return {"new_files": len(_contents(study) - before), "same_suite": same, "seconds": time.monotonic() - start}


def _contents(study: Study) -> set[tuple[str, int]]:
    folder = study.folder.workspace / "cache" / "sdas"
    return {
        (str(path), path.stat().st_mtime_ns) for path in folder.rglob("*.*") if path.suffix in (".png", ".safetensors")
    }


def detectability(study: Study) -> dict[str, Any]:
    """The panel's image AUROC of local anomalies, and of the good images themselves."""
    settings, device = study.settings, resolve_device("auto")
    normals = read_study_images(settings)
    panel = study_panel(settings, normals, device)
    outcome = prepare_sdas(
        settings,
        normals,
        study.folder.workspace,
        device,
        judge=lambda: panel,
        pictures=0,
        budget=Budget(),
        listener=lambda event: None,
    )
    assert outcome.sdas is not None
    bases = list(normals.part("validation").hwc[: 2 * BASES])
    drawn = {strength: outcome.sdas.synthesise(bases, [strength] * len(bases)) for strength in STRENGTHS}
    foreground, scale = Foreground.fit(normals.part("train").hwc), StrengthScale(**outcome.facts["scale"])
    table = detectability_table(drawn, bases, foreground, panel, OPACITIES, 1)
    return {
        "added": [scale.added_variance(strength) for strength in STRENGTHS],
        "change": [mean_change(bases, drawn[strength], foreground) for strength in STRENGTHS],
        "table": [[table[s, o] for o in OPACITIES] for s in STRENGTHS],
        "untouched": detectability_table({0.0: bases}, bases, Foreground(), panel, [1.0], 1)[0.0, 1.0],
        "surface": Foreground.fit(normals.part("train").hwc).is_whole_image,
    }


def choices(study: Study, dataset: Path) -> dict[str, Any]:
    """Real image AUROC of what each family alone would have chosen among all candidates and scoring rules."""
    study.assess(dataset)
    data = draw_study_data(study.settings, read_study_images(study.settings), study.folder, torch.device("cpu"))
    labels = np.array([image.anomalous for image in labelled_images(dataset)])
    proxies: dict[str, list[float]] = {name: [] for name in FAMILIES}
    real: list[float] = []
    for folder, by_rule in assessed(study):
        scores = SuiteScores.load(folder / "scores.npz")
        for rule in AGGREGATIONS:
            cells = scores.cells(data.proxy, rule.name)
            for name, wanted in FAMILIES.items():
                proxies[name].append(_mean_of(cells, wanted))
            real.append(image_auroc(by_rule[rule.name], labels))
    chosen = {name: real[int(np.argmax(values))] for name, values in proxies.items() if np.isfinite(values).all()}
    return chosen | {"best": max(real), "random": float(np.mean(real)), "candidates": len(real)}


def _mean_of(cells: dict[str, float], wanted: Iterable[str] | None) -> float:
    """Mean over the cells of the wanted families: all of them for none named, all but sdas for None."""
    if wanted is None:
        values = [value for cell, value in cells.items() if cell_family(cell) != "sdas"]
    else:
        names = set(wanted)
        values = [value for cell, value in cells.items() if not names or cell_family(cell) in names]
    return float(np.mean(values)) if values else float("nan")


def markdown(rows: list[dict[str, Any]]) -> str:
    return "\n\n".join([_training(rows), _detectability(rows), _choices(rows)])


def _training(rows: list[dict[str, Any]]) -> str:
    heads = [
        "set",
        "training, s",
        "steps",
        "s a picture",
        "distance of good images",
        "used",
        "second study: new files",
        "s",
    ]
    body = []
    for row in rows:
        facts, again = row["decision"]["facts"], row["reuse"]
        figures = [f"{facts.get(key, float('nan')):{form}}" for key, form in _FACTS.items()]
        verdict = "yes" if row["decision"]["used"] else f"no: {facts.get('fault', row['decision']['warnings'])}"
        body.append([row["set"], *figures, verdict, str(again["new_files"]), f"{again['seconds']:.0f}"])
    return table_of([heads, *body])


_FACTS = {"training_s": ".0f", "steps": ".0f", "seconds_a_picture": ".2f", "distance": ".2f"}


def _detectability(rows: list[dict[str, Any]]) -> str:
    heads = ["set", "kind", "untouched", *(f"strength {strength:g}" for strength in STRENGTHS)]
    body = []
    for row in rows:
        found = row["detectability"]
        if found is not None:
            rows_of = zip(found["table"], found["change"], found["added"], strict=True)
            cells = [
                " / ".join(f"{value:.2f}" for value in values) + f"; {change:.1f} levels, s {added:.2g}"
                for values, change, added in rows_of
            ]
            body.append([row["set"], "surface" if found["surface"] else "object", f"{found['untouched']:.2f}", *cells])
    return table_of([heads, *body])


def _choices(rows: list[dict[str, Any]]) -> str:
    names = [*FAMILIES, "best", "random"]
    body = [[row["set"], *(percent(row["choices"].get(name)) for name in names)] for row in rows]
    means = [np.mean([row["choices"].get(name, np.nan) for row in rows if "sdas" in row["choices"]]) for name in names]
    body.append(["mean where sdas was used", *map(percent, means)])
    return table_of([["set", *names], *body])


def main() -> None:
    parser = parser_of(__doc__, time_budget="1h")
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--trials", type=int, default=12)
    walk(parser.parse_args(), run_set, lambda row: f"{row['set']} done", markdown)


if __name__ == "__main__":
    main()
