from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from automl_ad.bundle.evaluating import evaluate
from automl_ad.bundle.loading import load_bundle
from automl_ad.bundle.prediction import Bundle
from automl_ad.data.labelled import LabelledImage
from automl_ad.errors import InputError
from automl_ad.evaluation.metrics import pixel_auroc, resize_maps

PIXEL_KEYS = ("pixel_auroc", "pixel_ap", "aupro", "iap", "iap90")


@pytest.fixture
def bundle(bundle_path: Path) -> Bundle:
    return load_bundle(bundle_path)


@pytest.fixture
def labelled(parts: Callable[[int, int], npt.NDArray[np.uint8]], tmp_path: Path) -> list[LabelledImage]:
    """Ten good parts, three with a bright patch and a mask of it, two that differ in nothing and have no mask."""
    images = parts(15, 11)
    found = []
    for i, image in enumerate(images):
        path, mask = tmp_path / f"{i:02}.png", None
        if 10 <= i < 13:
            image[24:40, 8:24] = (255, 40, 40)
            marks = np.zeros((64, 64), np.uint8)
            marks[24:40, 8:24] = 255
            mask = tmp_path / f"{i:02}_mask.png"
            Image.fromarray(marks).save(mask)
        Image.fromarray(image).save(path)
        found.append(LabelledImage(path, i >= 10, "good" if i < 10 else "patch" if i < 13 else "unseen", mask))
    return found


def test_the_answer_against_its_definition(bundle: Bundle, labelled: list[LabelledImage]) -> None:
    answer = evaluate(bundle, labelled)
    assert json.loads(json.dumps(answer, allow_nan=False)) == answer
    results = bundle.predict([image.path for image in labelled])["results"]
    good, bad = (np.array([r["score"] for r in part]) for part in (results[:10], results[10:]))
    threshold = bundle.manifest.threshold.value
    wins = (bad[:, None] > good).astype(float)
    assert answer["images"] == {"good": 10, "defect": 5}
    assert answer["image_auroc"] == pytest.approx(wins.mean())
    assert answer["overkill"] == pytest.approx((good > threshold).mean())
    assert answer["escapes"] == pytest.approx((bad <= threshold).mean())
    assert answer["by_defect"] == {
        "patch": {"image_auroc": pytest.approx(wins[:3].mean()), "n": 3},
        "unseen": {"image_auroc": pytest.approx(wins[3:].mean()), "n": 2},
    }
    assert answer["by_defect"]["patch"]["image_auroc"] == 1.0
    low, high = answer["image_auroc_interval"]
    assert 0 <= low <= answer["image_auroc"] <= high <= 1
    assert low < high
    assert answer["errors"] == []


def test_pixel_metrics_leave_defects_without_a_mask_out(bundle: Bundle, labelled: list[LabelledImage]) -> None:
    answer = evaluate(bundle, labelled)
    maps = resize_maps(bundle.maps([image.path for image in labelled[:13]]), (64, 64))
    masks = np.zeros((13, 64, 64), bool)
    masks[10:, 24:40, 8:24] = True
    assert answer["pixel_auroc"] == pytest.approx(pixel_auroc(maps, masks), abs=1e-6)
    assert answer["pixel_auroc"] > 0.9
    without = evaluate(bundle, labelled[:13])
    assert [answer[key] for key in PIXEL_KEYS] == pytest.approx([without[key] for key in PIXEL_KEYS], abs=1e-6)


def test_pixel_metrics_are_none_without_masks(bundle: Bundle, labelled: list[LabelledImage]) -> None:
    bare = [LabelledImage(image.path, image.anomalous, image.defect, None) for image in labelled]
    answer = evaluate(bundle, bare)
    assert [answer[key] for key in PIXEL_KEYS] == [None] * 5
    assert answer["image_auroc"] == evaluate(bundle, labelled)["image_auroc"]


def test_masks_without_a_white_pixel_count_as_no_masks(bundle: Bundle, labelled: list[LabelledImage]) -> None:
    for image in labelled:
        if image.mask is not None:
            Image.new("L", (64, 64)).save(image.mask)
    assert [evaluate(bundle, labelled)[key] for key in PIXEL_KEYS] == [None] * 5


def test_unreadable_images_are_listed_and_left_out(bundle: Bundle, labelled: list[LabelledImage]) -> None:
    expected = evaluate(bundle, labelled[1:12] + labelled[13:])
    labelled[0].path.write_bytes(b"x")
    labelled[12].path.unlink()
    answer = evaluate(bundle, labelled)
    assert [entry["path"] for entry in answer["errors"]] == [str(labelled[0].path), str(labelled[12].path)]
    assert "does not exist" in answer["errors"][1]["error"]
    assert answer["images"] == {"good": 9, "defect": 4}
    assert answer["by_defect"]["patch"]["n"] == 2
    assert answer["pixel_ap"] == pytest.approx(expected["pixel_ap"], abs=1e-6)


@pytest.mark.parametrize(("kept", "missing"), [(slice(0, 10), "defective"), (slice(10, 15), "good")])
def test_both_kinds_are_needed(bundle: Bundle, labelled: list[LabelledImage], kept: slice, missing: str) -> None:
    with pytest.raises(InputError, match=f"no {missing} one can be judged"):
        evaluate(bundle, labelled[kept])


def test_a_mask_that_cannot_be_read_is_named(bundle: Bundle, labelled: list[LabelledImage]) -> None:
    mask = labelled[10].mask
    assert mask is not None
    mask.write_bytes(b"x")
    with pytest.raises(InputError, match=r"10_mask\.png is not an image"):
        evaluate(bundle, labelled)
