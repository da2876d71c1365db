"""What tests of the whole product share: small drawn parts, and one torch thread."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from filelock import FileLock

import automl_ad
from automl_ad.study.settings import preset_path

torch.set_num_threads(1)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell without job control starts background commands this way; processes that tests interrupt would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

SERIAL_FILES = frozenset(
    {
        "tests/backbones/test_weights.py",
        "tests/dashboard/test_walk.py",
        "tests/jobs/test_job_board.py",
        "tests/jobs/test_job_runner.py",
        "tests/study/test_progress.py",
        "tests/synthesis/test_sdas_pool.py",
        "tests/test_dashboard_server.py",
        "tests/test_training.py",
    }
)
"""Files whose tests start a browser or servers, or measure time: two of them at once would disturb each other."""

LONG_FILES = (
    "tests/study/test_study.py",
    "tests/dashboard/test_walk.py",
    "tests/bundle/test_onnx_export.py",
    "tests/study/test_suites.py",
    "tests/jobs/test_job_board.py",
    "tests/study/test_ensembles.py",
    "tests/bundle/test_ensemble_bundle.py",
    "tests/data/groups/test_groups_finding.py",
    "tests/bundle/test_loading.py",
    "tests/methods/test_anoseg_detector.py",
    "tests/study/test_same_answer.py",
    "tests/test_undecodable_names.py",
)
"""Files of the most seconds: they come first, so that no process of pytest-xdist ends long after the others."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ranks = {file: rank for rank, file in enumerate(LONG_FILES)}
    items.sort(key=lambda item: ranks.get(item.nodeid.partition("::")[0], len(ranks)))


@pytest.fixture(autouse=True)
def _one_at_a_time(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Among the processes of pytest-xdist, one at a time runs a test of the serial files."""
    file = request.node.nodeid.partition("::")[0]
    if file not in SERIAL_FILES or "PYTEST_XDIST_WORKER" not in os.environ:
        yield
        return
    with FileLock(tmp_path_factory.getbasetemp().parent / "serial.lock"):
        yield


def draw_part(rng: np.random.Generator, side: int = 64) -> npt.NDArray[np.uint8]:
    """A bright disc with a bore on a grey ground, a little moved and turned; uint8 [side, side, 3]."""
    image = np.full((side, side, 3), 70, np.uint8)
    middle = (side // 2 + int(rng.integers(-2, 3)), side // 2 + int(rng.integers(-2, 3)))
    cv2.circle(image, middle, side * 3 // 8, (180, 175, 165), -1, cv2.LINE_AA)
    cv2.circle(image, middle, side // 10, (60, 60, 65), -1, cv2.LINE_AA)
    noisy = image + rng.normal(0, 4, image.shape) + rng.normal(0, 3)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def write_parts(folder: Path, count: int, seed: int = 0, side: int = 64) -> list[Path]:
    """Writes ``count`` drawn parts as PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    paths = [folder / f"{index:03d}.png" for index in range(count)]
    for path in paths:
        cv2.imwrite(str(path), draw_part(rng, side))
    return paths


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set in MVTec layout: 24 good parts, and a few labelled ones with a black bar across as defect."""
    root = tmp_path_factory.mktemp("parts")
    write_parts(root / "train" / "good", 24)
    write_parts(root / "test" / "good", 8, seed=1)
    for path in write_parts(root / "test" / "bar", 8, seed=2):
        image = cv2.imread(str(path))
        mask = np.zeros(image.shape[:2], np.uint8)
        cv2.line(mask, (18, 26), (46, 30), 255, 3)
        image[mask > 0] = 15
        cv2.imwrite(str(path), image)
        target = root / "ground_truth" / "bar" / f"{path.stem}_mask.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(target), mask)
    return root


@pytest.fixture(scope="session")
def search_parts(parts: Path) -> Callable[..., automl_ad.Study]:
    """Searches the parts in a workspace of its own, with some lines of a study file and options added."""

    def search(workspace: Path, further: str = "", **options: Any) -> automl_ad.Study:
        file = workspace / "study.yaml"
        # Without the family sdas, whose diffusion model some machines would find the time to train.
        families = "families: [texture, cutpaste, poisson, photometric]"
        file.write_text(f"{preset_path('quick').read_text()}\n{families}\n{further}")
        return automl_ad.search(
            parts,
            name="parts",
            workspace=workspace,
            study_file=file,
            backbones=["embedded"],
            methods=["padim", "dfr", "patchcore"],
            time_budget=600,
            **options,
        )

    return search
