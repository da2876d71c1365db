from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from automl_ad.errors import InputError
from automl_ad.search.material import draw_material, read_normals
from automl_ad.search.settings import StudySettings, build_settings

CPU = torch.device("cpu")


def settings_for(images: Path, **options: object) -> StudySettings:
    return build_settings(images, **({"image_size": 64} | options))  # type: ignore[arg-type]


def test_names_and_order_of_files_do_not_matter(parts: Path, tmp_path: Path) -> None:
    originals = sorted((parts / "train" / "good").iterdir())
    (tmp_path / "deep").mkdir()
    for index, path in enumerate(reversed(originals)):
        shutil.copy(path, tmp_path / "deep" / f"renamed_{index}.png")
    first, second = read_normals(settings_for(parts)), read_normals(settings_for(tmp_path))
    assert first.fingerprint == second.fingerprint
    assert first.splits == second.splits
    np.testing.assert_array_equal(first.images.pixels, second.images.pixels)


def test_unreadable_files_are_left_out_and_listed(parts: Path, tmp_path: Path) -> None:
    images = Path(shutil.copytree(parts / "train" / "good", tmp_path / "good"))
    (images / "notes.png").write_text("not a picture")
    whole = (images / "000.png").read_bytes()
    (images / "cut.png").write_bytes(whole[: len(whole) // 2])
    normals = read_normals(settings_for(images))
    assert len(normals.images) == 24
    warning = next(text for text in normals.warnings if "unreadable" in text)
    assert warning.startswith("2 unreadable images")
    assert "notes.png" in warning
    assert "cut.png" in warning


def test_when_no_file_can_be_read_the_first_fault_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("not a picture")
    with pytest.raises(InputError, match=r"None of the 1 images.*a\.png"):
        read_normals(settings_for(tmp_path))


def test_eleven_images_are_too_few(parts: Path, tmp_path: Path) -> None:
    for path in sorted((parts / "train" / "good").iterdir())[:11]:
        shutil.copy(path, tmp_path)
    with pytest.raises(InputError, match=r"11 distinct images.*at least 12"):
        read_normals(settings_for(tmp_path))


def test_images_that_are_all_identical_are_refused(parts: Path, tmp_path: Path) -> None:
    for index in range(20):
        shutil.copy(parts / "train" / "good" / "000.png", tmp_path / f"{index}.png")
    with pytest.raises(InputError, match="only 1 distinct"):
        read_normals(settings_for(tmp_path))


def test_few_images_and_mixed_shapes_are_warned_of(parts: Path, tmp_path: Path) -> None:
    images = Path(shutil.copytree(parts / "train" / "good", tmp_path / "good"))
    rng = np.random.default_rng(5)
    cv2.imwrite(str(images / "wide.png"), rng.integers(0, 255, (64, 160, 3), dtype=np.uint8))
    warnings = " ".join(read_normals(settings_for(images)).warnings)
    assert "Only 25 good images" in warnings
    assert "aspect" in warnings


def test_a_suite_is_drawn_once_and_then_read(parts: Path, tmp_path: Path) -> None:
    settings = settings_for(parts)
    normals = read_normals(settings)
    first = draw_material(settings, normals, tmp_path, CPU)
    stamp = (tmp_path / "proxy" / "suite.npz").stat().st_mtime_ns
    second = draw_material(settings, normals, tmp_path, CPU)
    assert (tmp_path / "proxy" / "suite.npz").stat().st_mtime_ns == stamp
    assert (first.proxy.digest, first.certify.digest) == (second.proxy.digest, second.certify.digest)
    assert first.proxy.digest != first.certify.digest


def test_proxy_and_certify_use_the_images_of_their_own_split(parts: Path, tmp_path: Path) -> None:
    settings = settings_for(parts)
    normals = read_normals(settings)
    material = draw_material(settings, normals, tmp_path, CPU)
    for suite, rows in ((material.proxy, normals.splits.proxy), (material.certify, normals.splits.certify)):
        bases = normals.images.pixels[list(rows)]
        for image, mask, base in zip(suite.anomalies.pixels, suite.masks, suite.bases, strict=True):
            np.testing.assert_array_equal(image[:, ~mask], bases[base][:, ~mask])


def test_smaller_sides_are_views_of_the_same_suite(parts: Path, tmp_path: Path) -> None:
    file = tmp_path / "two.yaml"
    file.write_text("sides: [64, 96]\nbackbones: [embedded]\n")
    settings = build_settings(parts, study_file=file)
    material = draw_material(settings, read_normals(settings), tmp_path, CPU)
    small, large = material.at(64), material.at(96)
    assert small.normals.size == (64, 64)
    assert large.normals.size == (96, 96)
    assert small.proxy.cells == large.proxy.cells
    assert material.at(64) is small


def test_files_reach_a_smaller_side_by_the_way_that_the_study_took(parts: Path, tmp_path: Path) -> None:
    file = tmp_path / "two.yaml"
    file.write_text("sides: [64, 96]\nbackbones: [embedded]\n")
    settings = build_settings(parts, study_file=file)
    normals = read_normals(settings)
    material = draw_material(settings, normals, tmp_path, CPU)
    loaded = {normals.preprocessing[64].load(path).tobytes() for path in (parts / "train" / "good").iterdir()}
    assert {image.tobytes() for image in material.at(64).normals.pixels} == loaded
