from __future__ import annotations

import json
import shutil
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from automl_ad import Study
from automl_ad.bundle.runtime import p_values
from automl_ad.data.preprocessing import Preprocessing
from automl_ad.errors import InputError, StoreError, StudyError
from automl_ad.evaluation.metrics import image_auroc
from automl_ad.methods.padim import Padim
from automl_ad.reporting import user_images
from automl_ad.reporting.comparison import Comparison
from automl_ad.reporting.user_image_results import NOT_FINITE
from automl_ad.reporting.user_image_trials import try_images
from automl_ad.reporting.user_images import UserImages, find_user_images
from automl_ad.selection.few_defects import placements, posterior
from automl_ad.selection.lead_model import expected_gains_of
from automl_ad.selection.ranking import ranked, usable
from automl_ad.study.progress import Event


@pytest.fixture(scope="module")
def pictures(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four good pictures, five with a bar, two without a label, and a file that is no picture."""
    folder = tmp_path_factory.mktemp("result")
    for place, label, count in (("test/good", "good", 4), ("test/bar", "defect/bar", 4), ("test/bar", "unlabelled", 2)):
        (folder / label).mkdir(parents=True)
        for path in sorted((parts / place).iterdir())[:count]:
            shutil.copy(path, folder / label)
    shutil.copy(sorted((parts / "test/bar").iterdir())[7], folder / "defect" / "loose.png")
    (folder / "unlabelled" / "broken.png").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def numbers(study: Study) -> list[int]:
    return [trial.number for trial in study.trials() if trial.state == "complete"][:3]


@pytest.fixture(scope="module")
def told() -> list[Event]:
    return []


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("job") / "result"


@pytest.fixture(scope="module")
def answer(study: Study, numbers: list[int], pictures: Path, output: Path, told: list[Event]) -> dict[str, Any]:
    return try_images(study, numbers, pictures, output, told.append)


def test_every_picture_is_told_of_by_its_label(answer: dict[str, Any]) -> None:
    json.dumps(answer, allow_nan=False)
    rows = {row["name"]: row for row in answer["pictures"]}
    assert len(rows) == 12
    assert {row["label"] for row in rows.values()} == {"good", "defect", "unlabelled"}
    assert rows["defect/bar/000.png"]["defect"] == "bar"
    assert rows["defect/loose.png"]["defect"] is None


def test_a_broken_file_is_a_row_with_an_error(answer: dict[str, Any]) -> None:
    row = next(row for row in answer["pictures"] if row["name"] == "unlabelled/broken.png")
    assert "broken.png" in row["error"]
    assert (row["image"], row["trials"]) == (None, {})


def test_scores_are_read_on_the_scale_of_the_trial(study: Study, numbers: list[int], answer: dict[str, Any]) -> None:
    comparison = Comparison(study, numbers)
    for number, trial in zip(numbers, answer["trials"], strict=True):
        normals = comparison.trials[number].normals
        assert (trial["number"], trial["proxy_normals"], trial["error"]) == (number, len(normals), None)
        for row in answer["pictures"]:
            if row["error"] is None:
                verdict = row["trials"][str(number)]
                assert verdict["p"] == p_values([verdict["score"]], normals)[0]
                assert verdict["anomalous"] == (verdict["score"] > trial["threshold"])


def test_the_candidate_is_that_of_its_trial(study: Study, numbers: list[int], parts: Path, tmp_path: Path) -> None:
    """Shown the suite's own normals, it gives the scores that its trial kept."""
    comparison = Comparison(study, numbers)
    for row in comparison.pictures[:3]:
        shown = comparison.suite.picture("normal", row.index)
        (tmp_path / "good").mkdir(exist_ok=True)
        Image.fromarray(shown).save(tmp_path / "good" / f"{row.index}.png")
    answer = try_images(study, numbers, tmp_path, tmp_path / "output")
    for row, result in zip(comparison.pictures, answer["pictures"], strict=False):
        for number in numbers:
            assert result["trials"][str(number)]["score"] == pytest.approx(row.scores[number], rel=1e-3)


def test_pictures_and_heat_can_be_looked_at(answer: dict[str, Any], output: Path) -> None:
    shown = [row for row in answer["pictures"] if row["error"] is None]
    for row in shown:
        size = Image.open(output / row["image"]).size
        assert [Image.open(output / verdict["heat"]).size for verdict in row["trials"].values()] == [size] * 3
    assert len(list((output / "thumbnails").iterdir())) == len(shown) * 4
    assert [path.name for path in output.iterdir()] == ["thumbnails"]


def test_real_defects_rank_the_candidates_apart(study: Study, numbers: list[int], answer: dict[str, Any]) -> None:
    real, comparison = answer["real"], Comparison(study, numbers)
    assert (real["good"], real["defects"]) == (4, 5)
    assert sorted(real["order"]) == sorted(numbers)
    for row in real["trials"]:
        scores = {
            label: [
                picture["trials"][str(row["number"])]["score"]
                for picture in answer["pictures"]
                if picture["label"] == label and picture["error"] is None
            ]
            for label in ("good", "defect")
        }
        normals = [*comparison.trials[row["number"]].normals, *scores["good"]]
        expected = image_auroc([*normals, *scores["defect"]], [0] * len(normals) + [1] * 5)
        assert row["auroc"] == pytest.approx(expected)
        assert row["interval"][0] <= row["auroc"] <= row["interval"][1]
        assert (row["escapes"]["of"], row["overkill"]["of"]) == (5, 4)
    values = [row["posterior"] for row in real["trials"]]
    assert values == sorted(values, reverse=True)
    assert "This order combines 5 real defects with what the search expected" in real["note"]
    assert "The defects were compared with 4 good ones of yours and" in real["note"]
    assert "It does not change the winner, ranking or tied set of the search." in real["note"]
    assert "it is largely chance" in real["note"]


def test_one_way_to_weigh_defects(study: Study, answer: dict[str, Any], numbers: list[int]) -> None:
    """The order is that of the posterior of the command line, here over user images and candidates."""
    ranking = ranked(study.repository.candidates(study.name))
    order = [record.number for record, _ in ranking]
    result = [order.index(number) for number in numbers]
    prior, spreads = (values[result] for values in expected_gains_of(ranking))
    shown = {
        label: np.array(
            [
                [picture["trials"][str(number)]["score"] for picture in answer["pictures"] if picture["label"] == label]
                for number in numbers
            ]
        )
        for label in ("good", "defect")
    }
    comparison = Comparison(study, numbers)
    normals = [np.r_[comparison.trials[number].normals, shown["good"][row]] for row, number in enumerate(numbers)]
    evidence = np.array([placements(seen, shown["defect"][row]) for row, seen in enumerate(normals)])
    found = posterior(prior, spreads, evidence)
    rows = {row["number"]: row for row in answer["real"]["trials"]}
    assert [rows[number]["posterior"] for number in numbers] == pytest.approx(found.means.tolist())
    assert [rows[number]["sd"] for number in numbers] == pytest.approx(found.deviations.tolist())


def test_only_usable_trials_and_those_tried_shape_the_expectation(
    study: Study, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two trials are within the limits; one of them is tried, and one that exceeds them."""
    records = {record.number: record for record in study.repository.candidates(study.name)}
    by_size = sorted(records.values(), key=lambda record: (record.size_mb or 0, record.number))
    inside, over = by_size[:2], by_size[-1]
    limited = study.settings.model_copy(update={"max_size_mb": inside[1].size_mb})
    monkeypatch.setattr(Study, "settings", property(lambda _: limited))
    ranking = ranked([record for record in records.values() if record in [*usable(inside, limited), over]])
    expected, _ = expected_gains_of(ranking)
    by_number = {record.number: value for (record, _), value in zip(ranking, expected, strict=True)}
    rows = try_images(study, [inside[0].number, over.number], pictures, tmp_path)["real"]["trials"]
    gaps = [
        values[over.number] - values[inside[0].number]
        for values in ({row["number"]: row["prior"] for row in rows}, by_number)
    ]
    assert gaps[0] == pytest.approx(gaps[1])


def test_progress_is_told_to_the_end(told: list[Event], answer: dict[str, Any], numbers: list[int]) -> None:
    steps = [event for event in told if event.total is not None]
    assert {event.stage for event in told} == {"try"}
    assert [event.done for event in steps] == sorted(event.done for event in steps)
    assert all(event.done <= event.total for event in steps if event.total is not None)
    assert {f"Trying trial {number}" for number in numbers} <= {event.message for event in told}


def test_a_candidate_that_fails_costs_the_others_nothing(
    study: Study, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = [trial for trial in study.trials() if trial.state == "complete"]
    failing = next(trial.number for trial in trials if trial.method == "padim")
    other = next(trial.number for trial in trials if trial.method not in ("padim", "average"))

    def fail(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(Padim, "anomaly_maps", fail)
    answer = try_images(study, [failing, other], pictures, tmp_path)
    assert [trial["error"] for trial in answer["trials"]] == ["Out of memory.", None]
    verdicts = answer["pictures"][0]["trials"]
    assert (verdicts[str(failing)]["score"], verdicts[str(failing)]["error"]) == (None, "Out of memory.")
    assert verdicts[str(other)]["score"] is not None
    assert answer["real"]["order"] == [other]


def test_maps_that_are_not_finite_are_errors(
    study: Study, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = next(trial.number for trial in study.trials() if trial.method == "padim")
    maps = Padim.anomaly_maps

    def spoilt(self: Padim, images: Any) -> Any:
        found = maps(self, images).copy()
        found[0, 0, 0] = np.nan
        return found

    monkeypatch.setattr(Padim, "anomaly_maps", spoilt)
    verdict = try_images(study, [number], pictures, tmp_path)["pictures"][0]["trials"][str(number)]
    assert (verdict["score"], verdict["heat"], verdict["error"]) == (None, None, NOT_FINITE)


def test_without_defects_there_is_no_order(study: Study, numbers: list[int], pictures: Path, tmp_path: Path) -> None:
    shutil.copytree(pictures / "good", tmp_path / "good")
    answer = try_images(study, numbers[:1], tmp_path, tmp_path / "output")
    assert answer["real"] is None
    assert answer["pictures"][0]["trials"]


def test_what_cannot_be_tried_is_refused(study: Study, numbers: list[int], pictures: Path, tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match="holds no pictures to try"):
            try_images(study, numbers, folder, tmp_path / "output")
    with pytest.raises(InputError, match="No trial was named"):
        try_images(study, [], pictures, tmp_path / "output")
    with pytest.raises(StudyError):
        try_images(study, [999], pictures, tmp_path / "output")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        try_images(study, numbers, pictures, tmp_path / "file" / "output")


def test_an_album_holds_what_preprocessing_makes_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_images, "BLOCK", 3)
    rng = np.random.default_rng(0)
    (tmp_path / "good").mkdir()
    for index in range(7):
        cv2.imwrite(str(tmp_path / "good" / f"{index}.png"), rng.integers(0, 256, (90, 120, 3)).astype(np.uint8))
    (tmp_path / "good" / "4.png").write_bytes(b"")
    large = Preprocessing(height=64, width=96)
    small = Preprocessing(height=32, width=48, via=(64, 96))
    done: list[int] = []
    read = UserImages.read(find_user_images(tmp_path), large, BytesIO(), done.append)
    assert done == [0, 3, 6]
    assert read.readable == [0, 1, 2, 3, 5, 6]
    assert list(read.faults) == [4]
    seen = [row for rows, images in read.blocks((32, 48)) for row in zip(rows, images.pixels, strict=True)]
    assert [row for row, _ in seen] == read.readable
    for row, pixels in seen:
        np.testing.assert_array_equal(pixels, small.load(read.pictures[row].path))
    np.testing.assert_array_equal(read.picture(5).transpose(2, 0, 1), large.load(read.pictures[5].path))
    assert not read.picture(4).any()


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    class Full(BytesIO):
        def write(self, *_: Any) -> int:
            raise OSError(28, "No space left on device")

    (tmp_path / "good").mkdir()
    (tmp_path / "good" / "0.png").write_bytes(b"")
    with pytest.raises(StoreError, match="No space left"):
        UserImages.read(find_user_images(tmp_path), Preprocessing(height=32, width=32), Full(), lambda done: None)
