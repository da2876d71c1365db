"""What the pages of the dashboard wait for, on a made-up study, while another process adds trials to its database.

One row a thing to wait for, in milliseconds: the first time, the median of further times, and the longest of them.
With ``--keep FOLDER`` the workspace stays, to be looked at with ``automl-ad dashboard --workspace FOLDER``.

    python studies/benchmarks/dashboard.py [--trials 1000] [--pictures 300] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from image_sets import table_of

from automl_ad import Study
from automl_ad.data.image_set import ImageSet
from automl_ad.evaluation.aggregation import AGGREGATIONS
from automl_ad.evaluation.suite import Suite, keep_normals, save_suite
from automl_ad.evaluation.suite_scores import SuiteScores
from automl_ad.reporting.comparison import Comparison
from automl_ad.reporting.operating_points import OperatingPoints
from automl_ad.reporting.overview import summaries
from automl_ad.reporting.trial_table import TrialTable
from automl_ad.store.artifacts import StudyFolder, save_arrays
from automl_ad.store.database import default_url, open_engine
from automl_ad.store.records import CandidateRecord, StudyRecord, utc_now
from automl_ad.store.repository import Repository
from automl_ad.study.settings import StudySettings

NAME, SIDE, NORMALS = "made_up", 256, 64
FAMILIES = ("texture", "cutpaste", "poisson", "photometric", "sdas")
CELLS = tuple(f"{family}/{severity}" for family in FAMILIES for severity in ("0.7", "0.85", "0.95"))
METHODS = (("padim", ()), ("patchcore", ()), ("dfr", ()), ("destseg", ("texture",)), ("realnet", ("sdas",)))
WITH_FILES, MAP_SIDES = 4, (32, 64, 64, 256)
"""The first trials have maps and scores, so that they can be compared."""


def trial(number: int) -> CandidateRecord:
    """A complete trial with random figures."""
    rng = np.random.default_rng(number)
    values = rng.beta(8, 2, len(CELLS))
    method, home = METHODS[number % len(METHODS)]
    return CandidateRecord(
        number=number,
        state="complete",
        method=method,
        backbone="resnet18",
        params={"side": SIDE, "backbone": "resnet18", "levels": [-3, -2], "ridge": float(rng.uniform(0.001, 0.1))},
        rule="max",
        proxy_score=float(values.mean()),
        interval_low=float(values.mean()) - 0.03,
        interval_high=float(values.mean()) + 0.03,
        families={family: float(values[3 * place : 3 * place + 3].mean()) for place, family in enumerate(FAMILIES)},
        image_auroc=dict(zip(CELLS, values.tolist(), strict=True)),
        aggregations={rule.name: float(rng.uniform(0.5, 1)) for rule in AGGREGATIONS},
        learned_from=frozenset(home),
        latency_ms=float(rng.lognormal(3, 0.6)),
        size_mb=float(rng.lognormal(4, 0.6)),
        peak_mb=900.0,
        fit_s=float(rng.lognormal(1, 0.5)),
        total_s=float(rng.lognormal(1.5, 0.5)),
        configuration_hash=str(number),
        started_at=utc_now(),
        ended_at=utc_now(),
        worker="here:1",
    )


def pictures(count: int, seed: int) -> ImageSet:
    """Smooth random pictures."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 24, 24, 3)).astype(np.uint8)
    return ImageSet.from_hwc([cv2.resize(picture, (SIDE, SIDE)) for picture in coarse])


def draw_suite(folder: StudyFolder, count: int) -> None:
    """A suite of made-up anomalies, and files of the first trials on it."""
    normals, rng = pictures(NORMALS, 0), np.random.default_rng(1)
    masks = np.zeros((count, SIDE, SIDE), bool)
    masks[:, 60:120, 60:140] = True
    cells = tuple(CELLS[place * len(CELLS) // count] for place in range(count))
    bases = tuple(place % NORMALS for place in range(count))
    save_suite(Suite(pictures(count, 2), masks, cells, bases, "made up"), normals, folder.suite / "proxy", "made up")
    keep_normals(normals, folder.suite / "proxy")
    for number, side in zip(range(WITH_FILES), MAP_SIDES, strict=True):
        scores = [
            {rule.name: rng.normal(shift, 1, size) for rule in AGGREGATIONS}
            for shift, size in ((0, NORMALS), (1, count))
        ]
        SuiteScores(*scores).save(folder.trial(number) / "scores.npz")
        maps = {"normal": NORMALS, "anomaly": count}
        drawn = {kind: rng.standard_normal((size, side, side), np.float32) for kind, size in maps.items()}
        save_arrays(folder.trial(number) / "maps.npz", **drawn)


def make_study(workspace: Path, trials: int, count: int) -> Study:
    """A study in a workspace of its own."""
    repository, folder = Repository(open_engine(default_url(workspace))), StudyFolder(workspace, NAME)
    settings = StudySettings(images=workspace / "images").model_dump(mode="json")
    images = str(workspace / "images")
    repository.create_study(StudyRecord(name=NAME, settings=settings, meaning={}, images=images, fingerprint="0"))
    for number in range(trials):
        repository.save_candidate(NAME, trial(number))
    draw_suite(folder, count)
    return Study(folder, default_url(workspace), repository)


def write_on(workspace: Path, first: int) -> None:
    """Adds five trials a second, until it is stopped."""
    repository = Repository(open_engine(default_url(workspace)))
    print("ready", flush=True)
    for number in range(first, first + 10_000):
        repository.save_candidate(NAME, trial(number))
        time.sleep(0.2)


def measured(study: Study, looks: int) -> list[list[str]]:
    """Times everything that pages wait for."""
    table = TrialTable(study.repository, NAME)
    numbers = range(WITH_FILES)

    def page() -> None:
        comparison = Comparison(study, numbers)
        for row in comparison.ordered("disagreement")[:24]:
            for layer in ("image", "mask", *numbers):
                comparison.thumbnail(row, layer)

    waits: dict[str, Callable[[], object]] = {
        "list of studies": lambda: summaries(study.folder.workspace),
        "trial table, read anew": lambda: TrialTable(study.repository, NAME),
        "trial table, refreshed": table.refresh,
        "Pareto front": table.pareto,
        f"comparison of {WITH_FILES}, 24 pictures": page,
        "operating point": lambda: OperatingPoints(study, 0).at(0.5),
    }
    return [[name, *_times(wait, looks)] for name, wait in waits.items()]


def _times(wait: Callable[[], object], looks: int) -> list[str]:
    times = []
    for _ in range(looks):
        start = time.perf_counter()
        wait()
        times.append(1000 * (time.perf_counter() - start))
        time.sleep(0.05)
    return [f"{times[0]:.0f}", f"{np.median(times[1:]):.0f}", f"{max(times[1:]):.0f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--pictures", type=int, default=300, help="synthetic anomalies of the suite")
    parser.add_argument("--looks", type=int, default=12)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write:
        write_on(arguments.write, arguments.trials)
        return
    with tempfile.TemporaryDirectory() as temporary:
        workspace = arguments.keep or Path(temporary)
        study = make_study(workspace, arguments.trials, arguments.pictures)
        command = [sys.executable, __file__, "--write", str(workspace), "--trials", str(arguments.trials)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            try:
                assert writer.stdout is not None
                writer.stdout.readline()
                rows = measured(study, max(2, arguments.looks))
            finally:
                writer.terminate()
    print(table_of([["ms", "first", "median", "longest"], *rows]))


if __name__ == "__main__":
    main()
