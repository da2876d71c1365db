"""Anomalies on their own: complete on disk, the same for the same seed, sharing the diffusion model with searches."""

from __future__ import annotations

import itertools
import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

import automl_ad
from automl_ad.data.preprocessing import Preprocessing
from automl_ad.data.study_images import read_study_images
from automl_ad.errors import InputError
from automl_ad.store.artifacts import StudyFolder
from automl_ad.study import suites
from automl_ad.study.progress import Event
from automl_ad.study.settings import requested_settings
from automl_ad.study.synthesize import SynthesisRequest
from automl_ad.synthesis.names import FAMILY_NAMES
from automl_ad.synthesis.sdas.job import SdasJob
from automl_ad.synthesis.texture import TextureFamily

TRAINING_FREE = [name for name in FAMILY_NAMES if name != "sdas"]


@pytest.fixture
def good(parts: Path) -> Path:
    return parts / "train" / "good"


def draw(images: Path, output: Path, **options: Any) -> dict[str, Any]:
    fast = {"family": "cutpaste", "count": 5, "image_size": 64, "workspace": output.parent / "workspace"}
    return automl_ad.synthesize(images, output, **(fast | options)).to_json()


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def pixels(path: str) -> np.ndarray:
    image = cv2.imread(path, cv2.IMREAD_UNCHANGED)
    return image[:, :, ::-1] if image.ndim == 3 else image


@pytest.mark.parametrize("family", TRAINING_FREE)
def test_one_good_image_is_enough(family: str, good: Path, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    shutil.copy(good / "000.png", tmp_path / "one" / "part.png")
    answer = draw(tmp_path / "one", tmp_path / "out", family=family, strength=0.5, count=3)
    base = Preprocessing(height=64, width=64).load(tmp_path / "one" / "part.png").transpose(1, 2, 0)
    assert len(answer["anomalies"]) == 3
    for anomaly in answer["anomalies"]:
        image, mask = pixels(anomaly["image"]), pixels(anomaly["mask"])
        assert set(np.unique(mask)) == {0, 255}
        np.testing.assert_array_equal(image[mask == 0], base[mask == 0])
        assert (image != base).any()
        assert anomaly["area"] == np.mean(mask == 255)
        assert anomaly["base"] == str(tmp_path / "one" / "part.png")


def test_the_answer_and_the_record_say_the_same(good: Path, tmp_path: Path) -> None:
    answer = draw(good, tmp_path / "out", strength=0.4, seed=3)
    facts = {"images": 24, "family": "cutpaste", "strength": 0.4, "count": 5, "seed": 3, "size": [64, 64]}
    facts |= {"sdas": None, "warnings": []}
    assert answer.keys() == {*facts, "layout", "left_aside", "output", "contact_sheet", "anomalies"}
    assert {key: answer[key] for key in facts} == facts
    assert answer["output"] == str(tmp_path / "out")
    record = json.loads((tmp_path / "out" / "anomalies.json").read_text())
    assert {key: record[key] for key in facts} == facts
    assert [str(tmp_path / "out" / entry["mask"]) for entry in record["anomalies"]] == [
        entry["mask"] for entry in answer["anomalies"]
    ]
    names = {f"{kind}/000{number}.png" for kind in ("images", "masks") for number in range(5)}
    assert files(tmp_path / "out").keys() == names | {"anomalies.json", "contact_sheet.png"}


def test_the_seed_decides_the_files(good: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        draw(good, tmp_path / name, seed=seed)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    one, other = files(tmp_path / "a"), files(tmp_path / "c")
    assert all(one[name] != other[name] for name in one if name.startswith("images"))


def test_more_anomalies_begin_with_those_of_fewer(good: Path, tmp_path: Path) -> None:
    few, many = draw(good, tmp_path / "few", count=3), draw(good, tmp_path / "many", count=30)
    for one, other in itertools.zip_longest(few["anomalies"], many["anomalies"][:3]):
        assert Path(one["image"]).read_bytes() == Path(other["image"]).read_bytes()


def test_no_image_serves_twice_before_all_served_once(good: Path, tmp_path: Path) -> None:
    anomalies = draw(good, tmp_path / "out", count=30)["anomalies"]
    assert len({entry["base"] for entry in anomalies[:24]}) == 24
    assert sorted(Counter(entry["base"] for entry in anomalies).values()) == [1] * 18 + [2] * 6
    bases = {entry["base"]: Preprocessing(height=64, width=64).load(Path(entry["base"])) for entry in anomalies}
    for entry in anomalies:
        same = pixels(entry["mask"]) == 0
        np.testing.assert_array_equal(pixels(entry["image"])[same], bases[entry["base"]].transpose(1, 2, 0)[same])


def test_strength_shows(good: Path, tmp_path: Path) -> None:
    changes = []
    for strength in (0.1, 1.0):
        anomalies = draw(good, tmp_path / str(strength), family="photometric", strength=strength)["anomalies"]
        shown = [(Path(entry["base"]), pixels(entry["image"]), pixels(entry["mask"]) > 0) for entry in anomalies]
        how = Preprocessing(height=64, width=64)
        differences = [np.abs(image - how.load(base).transpose(1, 2, 0).astype(float))[m] for base, image, m in shown]
        changes.append(np.mean([difference.mean() for difference in differences]))
    assert changes[1] > 2 * changes[0]


def test_unreadable_files_are_left_out_and_told_at_once(good: Path, tmp_path: Path) -> None:
    images = Path(shutil.copytree(good, tmp_path / "good"))
    (images / "notes.png").write_text("not a picture")
    events: list[Event] = []
    answer = draw(images, tmp_path / "out", listener=events.append)
    assert answer["images"] == 24
    assert "notes.png" in answer["warnings"][0]
    assert [event.message for event in events if event.stage == "warning"] == answer["warnings"]
    drawn = [event for event in events if event.stage == "suite"]
    assert [(event.done, event.total) for event in drawn] == [(number, 5) for number in range(1, 6)]


def test_a_texture_folder_that_is_not_there_leaves_nothing(good: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        draw(good, tmp_path / "out", family="texture", texture_dir=tmp_path / "none")
    assert not (tmp_path / "out").exists()


def test_an_interrupt_leaves_nothing(good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draws, real = itertools.count(), TextureFamily.draw

    def interrupted(*arguments: Any) -> Any:
        if next(draws) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(TextureFamily, "draw", interrupted)
    with pytest.raises(KeyboardInterrupt):
        draw(good, tmp_path / "out", family="texture")
    assert next(draws) == 4
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("family", "strength", "count", "words"),
    [
        ("magic", 0.2, 1, "--family 'magic' .*texture, cutpaste, poisson, photometric, scratch"),
        ("sdas", 0.0, 1, "--strength 0 "),
        ("sdas", 1.01, 1, "--strength 1.01 "),
        ("sdas", float("nan"), 1, "--strength nan "),
        ("sdas", 0.2, 0, "--count 0 .*1 to 100000"),
        ("sdas", 0.2, 100_001, "--count 100001 "),
    ],
)
def test_what_cannot_be_drawn(family: str, strength: float, count: int, words: str) -> None:
    with pytest.raises(InputError, match=words):
        SynthesisRequest(family, strength, count)
    SynthesisRequest("sdas", 1, 100_000)


def test_sdas_draws_with_a_model_of_its_own(good: Path, tmp_path: Path, tiny_sdas: list[SdasJob]) -> None:
    events: list[Event] = []
    answer = draw(good, tmp_path / "out", family="sdas", count=28, listener=events.append)
    assert tiny_sdas
    assert (answer["sdas"]["steps"], answer["sdas"]["fault"]) == (4, None)
    assert answer["sdas"]["added_variance"] == answer["strength"] ** 2  # on a scale on which s is 1 at strength 1
    assert {"audit", "sdas", "suite"} <= {event.stage for event in events}
    bases = {
        entry["base"]: Preprocessing(height=64, width=64).load(Path(entry["base"])) for entry in answer["anomalies"]
    }
    for entry in answer["anomalies"]:
        image, mask, base = pixels(entry["image"]), pixels(entry["mask"]), bases[entry["base"]].transpose(1, 2, 0)
        np.testing.assert_array_equal(image[mask == 0], base[mask == 0])
        assert (image != base).any(axis=2)[mask > 0].mean() > 0.5
    # The four bases that serve twice have another synthetic picture for each time.
    pool = json.loads(next((tmp_path / "workspace" / "cache" / "sdas").rglob("pictures.json")).read_text())
    assert len({entry["pixels"] for entry in pool["pictures"]}) == 28


def test_the_second_run_of_sdas_trains_nothing(good: Path, tmp_path: Path, tiny_sdas: list[SdasJob]) -> None:
    draw(good, tmp_path / "first", family="sdas", count=2)
    tiny_sdas.clear()
    draw(good, tmp_path / "second", family="sdas", count=2)
    assert tiny_sdas == []
    assert files(tmp_path / "first") == files(tmp_path / "second")


@pytest.mark.parametrize("search_first", [True, False])
def test_search_and_synthesize_share_the_model(
    good: Path, tmp_path: Path, tiny_sdas: list[SdasJob], search_first: bool
) -> None:
    settings = requested_settings(good, image_size=64, time_budget=600)
    settings = settings.model_copy(update={"families": ("sdas",), "severities": (0.85,), "per_cell": 4})

    def search() -> None:
        folder = StudyFolder(tmp_path / "workspace", "parts")
        drawn = suites.draw_study_data(settings, read_study_images(settings), folder, torch.device("cpu"))
        assert any(cell.startswith("sdas/") for cell in drawn.proxy.cells)

    def synthesize() -> None:
        draw(good, tmp_path / "out", family="sdas", count=2)

    first, second = (search, synthesize) if search_first else (synthesize, search)
    first()
    assert tiny_sdas
    tiny_sdas.clear()
    second()
    assert tiny_sdas == []


def test_a_model_that_fails_its_gate_is_an_error_with_the_reason(
    good: Path, tmp_path: Path, tiny_sdas: list[SdasJob], judge_sdas: Callable[[str | None], None]
) -> None:
    judge_sdas("its pictures are noise")
    with pytest.raises(InputError) as caught:
        draw(good, tmp_path / "out", family="sdas")
    why = "its pictures are noise; choose another --family."
    assert str(caught.value) == f"--family sdas cannot be drawn from {good}: {why}"
    assert len(tiny_sdas) > 0
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("count", "words"), [(11, "11 distinct .*at least 12"), (14, "needs 12 or more")])
def test_sdas_needs_enough_to_learn_from(
    good: Path, tmp_path: Path, tiny_sdas: list[SdasJob], count: int, words: str
) -> None:
    (tmp_path / "few").mkdir()
    for path in sorted(good.iterdir())[:count]:
        shutil.copy(path, tmp_path / "few")
    with pytest.raises(InputError, match=rf"{words}.* choose another --family"):
        draw(tmp_path / "few", tmp_path / "out", family="sdas")
    assert tiny_sdas == []
    assert not (tmp_path / "out").exists()
