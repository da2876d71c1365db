from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from automl_ad.bundle.loading import load_bundle
from automl_ad.bundle.prediction import Bundle
from automl_ad.errors import InputError

Parts = Callable[[int, int], npt.NDArray[np.uint8]]


@pytest.fixture
def bundle(bundle_path: Path) -> Bundle:
    return load_bundle(bundle_path)


@pytest.fixture
def folder(parts: Parts, tmp_path: Path) -> Path:
    """Ten pictures, two of them in sub-folders under one name, and one that is none."""
    images = parts(10, 8)
    images[4, 20:44, 20:44] = (255, 0, 0)
    names = [f"{i:02}.png" for i in range(7)] + ["a/x.png", "b/x.png", "b/x.bmp"]
    for name, image in zip(names, images, strict=True):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    (tmp_path / "images" / "02b.png").write_bytes(b"no picture")
    return tmp_path / "images"


def test_a_folder(bundle: Bundle, folder: Path) -> None:
    answer = bundle.predict(folder)
    assert json.loads(json.dumps(answer, allow_nan=False)) == answer
    assert answer["bundle"] == str(bundle.path)
    results = answer["results"]
    assert [Path(result["path"]).relative_to(folder).as_posix() for result in results] == [
        *("00.png", "01.png", "02.png", "02b.png", "03.png", "04.png", "05.png", "06.png"),
        *("a/x.png", "b/x.bmp", "b/x.png"),
    ]
    for result in results:
        assert result.keys() == {"path", "score", "p_value", "anomalous", "heatmap", "error"}
        assert result["heatmap"] is None
        assert (result["error"] is None) == (not result["path"].endswith("02b.png"))
    assert results[3]["error"].endswith(
        "is not an image, whatever its name says: remove it or save it again as PNG or JPEG."
    )
    assert [results[3][key] for key in ("score", "p_value", "anomalous")] == [None] * 3
    assert results[5]["anomalous"] is True
    assert results[5]["p_value"] == pytest.approx(1 / 31)
    assert max(results, key=lambda result: result["score"] or -1) is results[5]


def test_every_form_of_the_same_images_scores_alike(bundle: Bundle, folder: Path) -> None:
    paths = [folder / f"{i:02}.png" for i in range(7)]
    arrays = np.stack([np.asarray(Image.open(path)) for path in paths])
    by_list = bundle.predict([*paths, str(folder / "02b.png")])["results"]
    by_array = bundle.predict(arrays)["results"]
    by_mixture = bundle.predict([paths[0], arrays[1]])["results"]
    assert by_list[-1]["error"]
    assert [result["path"] for result in by_array] == [None] * 7
    scores = [result["score"] for result in by_array]
    assert [result["score"] for result in by_list[:-1]] == pytest.approx(scores, rel=1e-5)
    assert [result["score"] for result in by_mixture] == pytest.approx(scores[:2], rel=1e-5)
    for path, array, score in zip(paths, arrays, scores, strict=True):
        assert bundle.predict(path)["results"][0]["score"] == pytest.approx(score, rel=1e-5)
        assert bundle.predict(str(path))["results"][0]["path"] == str(path)
        assert bundle.predict(array)["results"][0]["score"] == pytest.approx(score, rel=1e-5)


def test_maps_are_raw_and_in_order(bundle: Bundle, parts: Parts) -> None:
    images = parts(19, 3)
    images[10, 30:40, 10:20] = 0
    maps = bundle.maps(images)
    assert maps.shape == (19, 16, 16)
    assert maps.dtype == np.float32
    assert [int(i) for i in np.argsort(maps.max(axis=(1, 2)))][-1] == 10
    row, column = np.unravel_index(int(maps[10].argmax()), (16, 16))
    assert 6 <= row <= 11
    assert 1 <= column <= 6


def test_maps_need_readable_files(bundle: Bundle, folder: Path) -> None:
    with pytest.raises(InputError, match=r"02b\.png is not an image"):
        bundle.maps(folder)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((64, 64, 3), np.float32),
        np.zeros((64, 64), np.uint8),
        np.zeros((2, 3, 64, 64), np.uint8),
        np.zeros((0, 64, 3), np.uint8),
        [np.zeros((64, 64, 4), np.uint8)],
    ],
)
def test_arrays_of_another_kind_are_refused(bundle: Bundle, images: Any) -> None:
    with pytest.raises(InputError, match=r"must be uint8 \[H, W, 3\]"):
        bundle.predict(images)


def test_nothing_to_judge_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no images"):
        bundle.predict(tmp_path / "empty")
    with pytest.raises(InputError, match="does not exist"):
        bundle.predict(tmp_path / "absent.png")
    for nothing in ([], np.zeros((0, 64, 64, 3), np.uint8)):
        with pytest.raises(InputError, match="no images to judge"):
            bundle.predict(nothing)


def test_a_listed_file_that_is_gone_is_a_result(bundle: Bundle, folder: Path) -> None:
    first, second = bundle.predict([folder / "absent.png", folder / "00.png"])["results"]
    assert "does not exist" in first["error"]
    assert second["error"] is None


@pytest.mark.parametrize("overkill", [None, 0.04, 0.1, 0.2, 0.5, 0.9])
def test_the_decision_is_the_p_value_against_the_promise(bundle: Bundle, parts: Parts, overkill: float | None) -> None:
    answer = bundle.predict(np.concatenate([parts(30, 1), parts(20, 77)]), overkill=overkill)
    assert answer["overkill"] == (overkill or 0.1)
    for result in answer["results"]:
        assert result["anomalous"] == (result["p_value"] <= answer["overkill"])
        assert result["anomalous"] == (result["score"] > answer["threshold"])
    # The first thirty are the calibration images themselves: of these exactly the share that fits below the promise.
    alarms = sum(result["anomalous"] for result in answer["results"][:30])
    assert alarms <= answer["overkill"] * 31 < alarms + 2


def test_overkill_moves_the_threshold(bundle: Bundle) -> None:
    strict, own, loose = (bundle.threshold(x).value for x in (0.05, None, 0.5))
    assert strict > own > loose
    assert bundle.threshold() == bundle.manifest.threshold


def test_overkill_that_cannot_be_promised_names_the_smallest_that_can(bundle: Bundle, parts: Parts) -> None:
    with pytest.raises(
        InputError, match=r"--overkill 0\.01 .* 30 calibration images .* at least 0\.032259 or"
    ) as fault:
        bundle.predict(parts(1, 0), overkill=0.01)
    smallest = float(str(fault.value).split("at least ")[1].split()[0])
    assert bundle.threshold(smallest).supported


@pytest.mark.parametrize("overkill", [0.0, 1.0, -0.1, 5.0, float("nan")])
def test_overkill_out_of_range(bundle: Bundle, overkill: float) -> None:
    with pytest.raises(InputError, match=r"--overkill .* is not between 0 and 1"):
        bundle.threshold(overkill)


def test_scores_that_are_not_finite_are_errors_of_their_image_only(
    bundle: Bundle, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    maps = torch.zeros(3, 4, 4).numpy()
    maps[1, 2, 2] = np.nan
    monkeypatch.setattr(bundle.detector, "anomaly_maps", lambda images: maps)
    results = bundle.predict(parts(3, 0))["results"]
    assert [result["error"] is None for result in results] == [True, False, True]
    assert "not finite" in results[1]["error"]
    assert results[1]["anomalous"] is None


def test_pictures_of_any_size_are_taken(bundle: Bundle, parts: Parts) -> None:
    large = np.asarray(Image.fromarray(parts(1, 9)[0]).resize((200, 150)))
    assert bundle.maps([large, parts(1, 9)[0]]).shape == (2, 16, 16)
