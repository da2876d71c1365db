"""The recipes for bundles run as the documentation has them, and score as the bundle does."""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from automl_ad.bundle.loading import load_bundle
from automl_ad.bundle.writing import BundleContents, write_bundle

DOCS = Path(__file__).resolve().parents[2] / "docs"
SAVE = "\nimport numpy\nnumpy.savez('found.npz', map=anomaly_map, score=score)\n"


def section(page: str, heading: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def recipe(word: str) -> str:
    """The block of the inference engine that imports ``word``, after the one that prepares the images."""
    prepare, *engines = blocks(section("bundles.md", "Other inference engines"), "python")
    (found,) = [block for block in engines if f"import {word}\n" in block]
    return prepare + found


@pytest.fixture
def place(tmp_path: Path, contents: BundleContents, draw_images: Callable[..., npt.NDArray[np.uint8]]) -> Path:
    """A folder with what the pages speak of: a bundle, and images at another than its working size."""
    write_bundle(tmp_path / "flanges_bundle", contents)
    for folder in ("NEW_IMAGES", "automl_ad_demo/parts/test"):
        (tmp_path / folder).mkdir(parents=True)
        for index, image in enumerate(draw_images(3, 7)):
            Image.fromarray(image).resize((80, 80)).save(tmp_path / folder / f"{index}.png")
    return tmp_path


def run(place: Path, *arguments: str) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=place, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def expected(place: Path) -> list[float]:
    answer = load_bundle(place / "flanges_bundle").predict(place / "NEW_IMAGES")
    return [result["score"] for result in answer["results"]]


ENGINES = [
    pytest.param(
        "openvino",
        marks=pytest.mark.skipif(platform.machine() == "ARM64", reason="OpenVINO has no wheels for Windows on ARM"),
    ),
]


@pytest.mark.parametrize("engine", ENGINES)
def test_other_engines_score_as_the_bundle(place: Path, engine: str) -> None:
    run(place, "-c", recipe(engine) + SAVE)
    with np.load(place / "found.npz") as found:
        np.testing.assert_allclose(found["score"], expected(place), rtol=1e-4)
        maps = load_bundle(place / "flanges_bundle").maps(place / "NEW_IMAGES")
        np.testing.assert_allclose(found["map"], maps, atol=1e-3 * maps.std(), rtol=1e-4)


def test_openvino_is_always_told_the_precision() -> None:
    pages = [path.read_text(encoding="utf-8") for path in [*DOCS.glob("*.md"), DOCS.parent / "README.md"]]
    calls = [call for page in pages for call in re.findall(r"compile_model\(.*", page)]
    assert calls
    assert [call for call in calls if '"INFERENCE_PRECISION_HINT": "f32"' not in call] == []


def test_the_runtime_of_the_bundle_scores_as_the_bundle(place: Path) -> None:
    (code,) = blocks(section("bundles.md", "Without automl-ad"), "python")
    lines = run(place, "-c", code).splitlines()
    assert [float(line.split()[-1]) for line in lines] == pytest.approx(expected(place), rel=1e-5)


def test_the_commands_without_automl_ad(place: Path) -> None:
    (shell,) = blocks(section("bundles.md", "Without automl-ad"), "")
    commands = [shlex.split(line, comments=True) for line in shell.splitlines()]
    printed = [run(place, *command[1:]) for command in commands if command[0] == "python"]
    assert len(printed) == 2
    results = [json.loads(line) for line in printed[1].splitlines()]
    assert [result["score"] for result in results] == pytest.approx(expected(place), rel=1e-5)
    assert len(list((place / "heatmaps").rglob("*.png"))) == 6


class ExportedStudy:
    """Stands for a study whose bundle is already there."""

    def export(self, output: str) -> Path:
        return Path(output)


def test_the_examples_of_the_python_page(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    import automl_ad

    names: dict[str, Any] = {"automl_ad": automl_ad, "study": ExportedStudy()}
    code = blocks(section("python.md", "Bundles"), "python")
    assert len(code) >= 3
    for block in code:
        exec(block, names)
    assert [result.score for result in names["answer"].results] == pytest.approx(expected(place), rel=1e-5)
    assert names["head"].images == 3
