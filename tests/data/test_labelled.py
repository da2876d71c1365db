from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from automl_ad.data.labelled import LabelledImage, labelled_from_folders, labelled_images
from automl_ad.errors import InputError


def touch(root: Path, names: Iterable[str]) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_masks_are_paired_by_name(tmp_path: Path) -> None:
    touch(tmp_path, ["test/good/0.png", "test/cut/a.jpg", "test/cut/b.jpg", "test/cut/c.jpg", "test/dent/a.png"])
    # b has none, so pairing by order would give c's mask to b
    touch(tmp_path, ["ground_truth/cut/a_mask.png", "ground_truth/cut/c.png"])
    truth = tmp_path / "ground_truth/cut"
    assert labelled_images(tmp_path) == [
        LabelledImage(tmp_path / "test/good/0.png", False, "good", None),
        LabelledImage(tmp_path / "test/cut/a.jpg", True, "cut", truth / "a_mask.png"),
        LabelledImage(tmp_path / "test/cut/b.jpg", True, "cut", None),
        LabelledImage(tmp_path / "test/cut/c.jpg", True, "cut", truth / "c.png"),
        LabelledImage(tmp_path / "test/dent/a.png", True, "dent", None),
    ]


def test_hidden_folders_are_no_defect_types(tmp_path: Path) -> None:
    touch(tmp_path, ["test/good/0.png", "test/cut/1.png", "test/.cache/2.png"])
    assert {image.defect for image in labelled_images(tmp_path)} == {"good", "cut"}


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (["train/good/0.png"], "no folder named test"),
        (["test/cut/0.png"], "good holds no images"),
        (["test/good/0.png"], "no defective images"),
        (["test/good/0.png", "test/cut/0.txt"], "no defective images"),
        (["test/good/0.png", "test/cut/1.png", "ground_truth/cut/x.png"], "no mask named after"),
    ],
)
def test_incomplete_data_sets_are_refused(tmp_path: Path, names: list[str], complaint: str) -> None:
    touch(tmp_path, names)
    with pytest.raises(InputError, match=complaint):
        labelled_images(tmp_path)


def test_two_folders_with_types_in_sub_folders(tmp_path: Path) -> None:
    touch(tmp_path, ["ok/1.png", "ok/line2/2.png", "nok/3.png", "nok/scratch/deep/4.png", "nok/dent/5.png"])
    found = labelled_from_folders(tmp_path / "ok", tmp_path / "nok")
    assert [(image.path.name, image.defect, image.anomalous) for image in found] == [
        ("1.png", "good", False),
        ("2.png", "good", False),
        ("3.png", "defect", True),
        ("5.png", "dent", True),
        ("4.png", "scratch", True),
    ]
    assert all(image.mask is None for image in found)


@pytest.mark.parametrize(
    ("names", "complaint"), [(["ok/1.png"], "nok holds no images"), (["nok/1.png"], "ok holds no")]
)
def test_an_empty_side_is_refused(tmp_path: Path, names: list[str], complaint: str) -> None:
    touch(tmp_path, names)
    with pytest.raises(InputError, match=complaint):
        labelled_from_folders(tmp_path / "ok", tmp_path / "nok")
