"""Runs a study on a set, judges its trials by real defects, and keeps what selection rules are tried on."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from facts import Facts, Floats

import automl_ad
from automl_ad.evaluation.metrics import pixel_ap, resize_maps
from automl_ad.evaluation.suite import Suite
from automl_ad.search.assess import labelled_scores
from automl_ad.search.ranking import at_home, usable
from automl_ad.search.study import DEFAULT_TRIAL
from automl_ad.store.artifacts import load_arrays
from automl_ad.store.records import CandidateRecord


def collect(dataset: Path, seed: int, arguments: argparse.Namespace) -> Facts:
    """Searches a set without its defects, then has every usable trial judged by them.

    Both steps go on where they were stopped.
    """
    start = time.monotonic()
    study = automl_ad.search(
        dataset,
        name=f"{dataset.name}_{seed}",
        workspace=arguments.output / "workspace",
        weights_dir=arguments.weights_dir,
        preset=arguments.preset,
        methods=arguments.methods.split(",") if arguments.methods else None,
        trials=arguments.trials,
        time_budget=arguments.time_budget,
        seed=seed,
    )
    searched = time.monotonic()
    bench, answer = study.bench(), study.answer()
    records = usable(study.repository.candidates(study.name), study.settings)
    scores, labels = labelled_scores(bench, records, dataset)
    suite = bench.material.proxy
    place = {record.number: row for row, record in enumerate(records)}
    return Facts(
        set=dataset.name,
        seed=seed,
        trials=[_trial(record) for record in records],
        cells=list(suite.cell_names),
        selected=place[answer["winner"]["trial"]],
        default=place.get(DEFAULT_TRIAL),
        tied=[place[number] for number in answer["tied"] if number in place],
        seconds={"search": searched - start, "assess": time.monotonic() - searched, "wall": answer["wall_s"]},
        image_cells=np.array([[record.cells["cells"][cell] for cell in suite.cell_names] for record in records]),
        pixel_cells=np.array([_pixel_cells(study.folder.trial(record.number), suite) for record in records]),
        home=at_home(records, suite.cell_names),
        proxy=np.array([record.proxy_score for record in records], dtype=np.float64),
        scores=scores,
        labels=labels,
    )


def _trial(record: CandidateRecord) -> dict[str, Any]:
    names = ("number", "method", "backbone", "rule", "latency_ms", "fit_s", "total_s")
    return {name: getattr(record, name) for name in names} | {"params": dict(record.params)}


def _pixel_cells(folder: Path, suite: Suite) -> Floats:
    """Average precision over the pixels of each cell's anomalies."""
    maps = load_arrays(folder / "maps.npz")["anomaly"]
    found = []
    for cell in suite.cell_names:
        members = suite.members(cell)
        found.append(pixel_ap(resize_maps(maps[members], suite.masks.shape[1:]), suite.masks[members]))
    return np.array(found)
