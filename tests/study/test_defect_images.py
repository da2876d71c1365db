from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from automl_ad.data.study_images import StudyImages, read_study_images
from automl_ad.errors import InputError
from automl_ad.study.real_defects import MAX_DEFECTS, DefectImages, find_defects
from automl_ad.study.settings import requested_settings


@pytest.fixture(scope="module")
def normals(parts: Path) -> StudyImages:
    return read_study_images(requested_settings(parts, image_size=64))


@pytest.fixture
def folder(parts: Path, tmp_path: Path) -> Path:
    """Three defects, one of them in a sub-folder."""
    (tmp_path / "few" / "bar").mkdir(parents=True)
    for index, place in enumerate(("b.png", "a.png", "bar/c.png")):
        shutil.copy(parts / "test" / "bar" / f"{index:03d}.png", tmp_path / "few" / place)
    return tmp_path / "few"


def test_pictures_are_read_as_the_study_reads_its_own(folder: Path, normals: StudyImages) -> None:
    read = DefectImages.read(folder, normals)
    assert [path.name for path in read.paths] == ["a.png", "b.png", "c.png"]
    assert read.notes == []
    expected = [normals.preprocessing[64].load(path) for path in read.paths]
    np.testing.assert_array_equal(read.images.pixels, expected)


def test_odd_sizes_and_colour_modes_are_preprocessed(folder: Path, normals: StudyImages) -> None:
    picture = Image.open(folder / "a.png")
    picture.convert("L").resize((97, 31)).save(folder / "grey.bmp")
    picture.convert("RGBA").resize((20, 300)).save(folder / "alpha.png")
    picture.convert("P").save(folder / "palette.png")
    cv2.imwrite(str(folder / "deep.tif"), np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    assert DefectImages.read(folder, normals).images.pixels.shape == (7, 3, 64, 64)


def test_unreadable_ones_and_copies_are_left_out_and_named(folder: Path, normals: StudyImages) -> None:
    (folder / "cut.png").write_bytes((folder / "a.png").read_bytes()[:200])
    shutil.copy(folder / "a.png", folder / "again.png")
    Image.open(folder / "a.png").save(folder / "as.bmp")
    read = DefectImages.read(folder, normals)
    assert len(read.images) == len(read.paths) == 3
    unread, copies = read.notes
    assert "cannot be read" in unread
    assert "cut.png" in unread
    assert "again.png" in copies
    assert "as.bmp" in copies


def test_what_cannot_be_used_is_refused_with_the_folder(folder: Path, normals: StudyImages, tmp_path: Path) -> None:
    def refused(path: Path) -> str:
        with pytest.raises(InputError) as error:
            DefectImages.read(path, normals)
        assert str(path) in str(error.value)
        return str(error.value)

    assert "does not exist" in refused(tmp_path / "none")
    assert "is a file" in refused(folder / "a.png")
    (tmp_path / "empty").mkdir()
    assert "holds no images" in refused(tmp_path / "empty")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_bytes(b"no picture")
    assert "None of the 1 images" in refused(tmp_path / "broken")


def test_many_defects_deserve_a_labelled_set(tmp_path: Path) -> None:
    for index in range(MAX_DEFECTS):
        (tmp_path / f"{index}.png").touch()
    assert len(find_defects(tmp_path)) == MAX_DEFECTS
    (tmp_path / "more.jpg").touch()
    with pytest.raises(InputError, match=f"{MAX_DEFECTS + 1} images.*assess NAME DATASET"):
        find_defects(tmp_path)


@pytest.mark.parametrize("name", ["copy.png", "resaved.bmp"])
def test_a_good_image_of_the_study_is_refused_by_its_content(
    folder: Path, parts: Path, normals: StudyImages, name: str
) -> None:
    Image.open(parts / "train" / "good" / "004.png").save(folder / name)
    with pytest.raises(InputError, match=f"{name}.*one of the study's good images"):
        DefectImages.read(folder, normals)
