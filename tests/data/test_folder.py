from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from automl_ad.data.folder import find_images
from automl_ad.errors import InputError


def touch(root: Path, names: Iterable[str]) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_images_are_found_below_the_folder_in_sorted_order(tmp_path: Path) -> None:
    touch(
        tmp_path, ["b.png", "a/z.JPG", "a/deep/y.tiff", "c.webp", "note.txt", "a.png.bak", "d.jpeg", "e.bmp", "f.TIF"]
    )
    found = [path.relative_to(tmp_path).as_posix() for path in find_images(tmp_path)]
    assert found == ["a/deep/y.tiff", "a/z.JPG", "b.png", "c.webp", "d.jpeg", "e.bmp", "f.TIF"]


def test_hidden_files_and_folders_are_left_aside(tmp_path: Path) -> None:
    touch(tmp_path, ["a.png", ".b.png", ".trash/c.png", "._a.png"])
    assert find_images(tmp_path) == [tmp_path / "a.png"]


def test_a_folder_that_lies_in_a_hidden_one_is_read(tmp_path: Path) -> None:
    touch(tmp_path, [".data/set/a.png"])
    assert find_images(tmp_path / ".data" / "set") == [tmp_path / ".data/set/a.png"]


def test_of_mvtec_layout_only_train_good_is_read(tmp_path: Path) -> None:
    touch(tmp_path, ["train/good/1.png", "test/good/2.png", "test/scratch/3.png", "ground_truth/scratch/3_mask.png"])
    assert find_images(tmp_path) == [tmp_path / "train/good/1.png"]


@pytest.mark.parametrize("inside", ["", "test"])
def test_the_test_part_of_a_data_set_is_refused(tmp_path: Path, inside: str) -> None:
    touch(tmp_path, ["test/good/2.png", "test/scratch/3.png"])
    with pytest.raises(InputError, match="test part of a data set in MVTec layout"):
        find_images(tmp_path / inside)


def test_an_empty_train_good_is_no_licence_to_read_the_rest(tmp_path: Path) -> None:
    touch(tmp_path, ["test/scratch/3.png"])
    (tmp_path / "train/good").mkdir(parents=True)
    with pytest.raises(InputError, match=r"good holds no images"):
        find_images(tmp_path)


def test_what_is_no_folder_of_images_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, ["a.png", "texts/a.txt"])
    with pytest.raises(InputError, match="missing does not exist"):
        find_images(tmp_path / "missing")
    with pytest.raises(InputError, match=r"a\.png is a file"):
        find_images(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"texts holds no images.*\.jpg.*\.png"):
        find_images(tmp_path / "texts")


def test_a_folder_without_permission_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, ["a.png", "locked/b.png"])
    scandir = os.scandir

    def guarded(path: str | Path) -> object:
        if Path(path).name == "locked":  # as the operating system does for anybody but root
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    with pytest.raises(InputError, match=r"locked cannot be listed \(Permission denied\)"):
        find_images(tmp_path)
