from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from automl_ad.data.folder import excluded_names, find_images, without
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
    with pytest.raises(InputError, match="test part of a data set"):
        find_images(tmp_path / inside)


def test_an_empty_train_good_is_no_licence_to_read_the_rest(tmp_path: Path) -> None:
    touch(tmp_path, ["test/scratch/3.png"])
    (tmp_path / "train/good").mkdir(parents=True)
    with pytest.raises(InputError, match="named after defects"):
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


class TestExclusion:
    @pytest.mark.parametrize("form", ["{name}", "./{name}", "{root}/{name}", "{root}/train/../{name}"])
    def test_images_are_named_in_any_form_and_kept_in_one(self, form: str, tmp_path: Path) -> None:
        touch(tmp_path, ["train/good/1.png", "train/good/2.png", "test/bad/3.png"])
        given = [form.format(root=tmp_path, name=f"train/good/{number}.png") for number in (2, 1, 2)]
        assert excluded_names(tmp_path, given) == ("train/good/1.png", "train/good/2.png")

    def test_paths_from_here_are_understood(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        touch(tmp_path, ["good/1.png"])
        monkeypatch.chdir(tmp_path)
        assert excluded_names(Path("good"), ["good/1.png"]) == ("1.png",)
        assert without(find_images(tmp_path), tmp_path, []) == [tmp_path / "good/1.png"]

    @pytest.mark.parametrize("name", ["4.png", "../2.png", "/etc/passwd", "test/bad/3.png", "", "train"])
    def test_what_the_search_would_not_read_is_refused(self, name: str, tmp_path: Path) -> None:
        touch(tmp_path, ["train/good/1.png", "test/bad/3.png"])
        with pytest.raises(InputError, match=r"^exclude .* is not one of the images"):
            excluded_names(tmp_path, [name])

    def test_the_rest_is_left(self, tmp_path: Path) -> None:
        touch(tmp_path, ["1.png", "deep/2.png"])
        assert without(find_images(tmp_path), tmp_path, ["deep/2.png", "gone.png"]) == [tmp_path / "1.png"]
        with pytest.raises(InputError, match=r"All 2 images .* are excluded"):
            without(find_images(tmp_path), tmp_path, ["1.png", "deep/2.png"])
