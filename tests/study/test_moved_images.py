"""A study whose folder of good images was moved after the search."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest

import automl_ad
from automl_ad.errors import InputError


@pytest.fixture(scope="module")
def workspace(search_parts: Callable[..., automl_ad.Study], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("moved")
    study = search_parts(folder, image_size=32, trials=1, ensemble=False)
    settings = study.settings.model_copy(update={"images": folder / "gone"})
    study.repository.set_settings("parts", settings.model_dump(mode="json"))
    return folder


def opened(workspace: Path, images: Path | None = None) -> automl_ad.Study:
    return automl_ad.Study.open("parts", workspace, images=images)


def test_the_option_is_named_where_the_folder_is_missing(workspace: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone, the folder of good images of study parts, does not exist; .*--images"):
        opened(workspace).export(tmp_path / "bundle")


def test_the_same_images_elsewhere_do(workspace: Path, parts: Path, tmp_path: Path) -> None:
    shutil.copytree(parts / "train", tmp_path / "new" / "train")
    study = opened(workspace, tmp_path / "new")
    assert study.settings.images == tmp_path / "new"
    assert study.export(tmp_path / "bundle").is_dir()
    assert opened(workspace).settings.images.name == "gone"  # only a search changes what is stored


def test_other_images_are_refused(workspace: Path, parts: Path, tmp_path: Path) -> None:
    shutil.copytree(parts / "train" / "good", tmp_path / "new")
    changed = tmp_path / "new" / "000.png"
    cv2.imwrite(str(changed), 255 - cv2.imread(str(changed)))
    with pytest.raises(InputError, match=r"--images .*new does not hold the images that study parts was searched with"):
        opened(workspace, tmp_path / "new").context()


def test_a_search_that_goes_on_remembers_the_new_place(workspace: Path) -> None:
    study = opened(workspace)
    assert study.repository.get_study("parts").images == str(workspace / "gone")
